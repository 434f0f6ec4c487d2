// The headers that all tests are compiled with belong to this program (tests/CMakeLists.txt).
int main() {}
