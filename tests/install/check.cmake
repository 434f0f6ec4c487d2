# Installs ${built} below ${work}, and builds and runs ${consumer} and ${example} from there. Anything that fails ends it.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

unset(ENV{DESTDIR})
file(REMOVE_RECURSE ${work})
# A copy, so that no header of the checkout lies within reach.
file(COPY ${consumer} DESTINATION ${work})
run(${CMAKE_COMMAND} --install ${built} --prefix ${work}/prefix)
run(${CMAKE_COMMAND} -G Ninja -S ${work}/consumer -B ${work}/build -DCMAKE_PREFIX_PATH=${work}/prefix
  -DCMAKE_CXX_COMPILER=${compiler} -DCMAKE_CXX_COMPILER_LAUNCHER=${launcher})
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/consumer)

# The example needs one component, and has a folder of its own of the same name as ours in its way.
file(COPY ${example}/ ${consumer}/src DESTINATION ${work}/example)
run(${CMAKE_COMMAND} -G Ninja -S ${work}/example -B ${work}/example/build -DCMAKE_PREFIX_PATH=${work}/prefix
  -DCMAKE_CXX_COMPILER=${compiler} -DCMAKE_CXX_COMPILER_LAUNCHER=${launcher})
run(${CMAKE_COMMAND} --build ${work}/example/build)
run(${work}/example/build/example)

# And without CMake.
file(GLOB_RECURSE pc ${work}/prefix/culvert.pc)
cmake_path(GET pc PARENT_PATH pc_folder)
set(ENV{PKG_CONFIG_PATH} ${pc_folder})
execute_process(COMMAND pkg-config --cflags --libs culvert OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(${launcher} ${compiler} -std=c++20 -I${work}/example ${work}/example/main.cc ${flags} -o ${work}/example/by_pkg_config)
run(${work}/example/by_pkg_config)
foreach(flag IN LISTS flags)
  if(flag MATCHES "uring|urcu")
    message(FATAL_ERROR "culvert.pc asks for ${flag}, which a peer does not need")
  endif()
endforeach()

# A component that does not exist is said so.
file(WRITE ${work}/wrong/CMakeLists.txt "cmake_minimum_required(VERSION 3.25)\nproject(wrong LANGUAGES CXX)\nfind_package(culvert REQUIRED COMPONENTS crypt)\n")
execute_process(COMMAND ${CMAKE_COMMAND} -G Ninja -S ${work}/wrong -B ${work}/wrong/build -DCMAKE_PREFIX_PATH=${work}/prefix
  -DCMAKE_CXX_COMPILER=${compiler} RESULT_VARIABLE failed ERROR_VARIABLE said OUTPUT_QUIET)
if(NOT failed OR NOT said MATCHES "no component crypt")
  message(FATAL_ERROR "a component that does not exist: ${said}")
endif()
