// lab_traffic as a process.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/fd.h"

namespace culvert::traffic {

// Ends, and is waited for, with this.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    int in[2], out[2], err[2];
    if (::pipe(in) != 0 || ::pipe(out) != 0 || ::pipe(err) != 0) return;
    arguments.insert(arguments.begin(), LAB_TRAFFIC);
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::dup2(err[1], 2);
      for (const int* pair : {in, out, err}) {
        ::close(pair[0]);
        ::close(pair[1]);
      }
      std::vector<char*> words;
      for (std::string& argument : arguments) words.push_back(argument.data());
      words.push_back(nullptr);
      ::execv(LAB_TRAFFIC, words.data());
      ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    ::close(err[1]);
    input_ = io::Fd(in[1]);
    output_ = io::Fd(out[0]);
    errors_ = io::Fd(err[0]);
  }
  ~Program() {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void say(const std::string& line) {
    EXPECT_EQ(::write(input_.get(), (line + '\n').data(), line.size() + 1), static_cast<ssize_t>(line.size() + 1));
  }

  // The next line of its output, without the newline; "" at the end of it.
  std::string line() {
    size_t end = 0;
    while ((end = buffered_.find('\n')) == std::string::npos)
      if (!read_some(output_.get(), buffered_)) return "";
    std::string line = buffered_.substr(0, end);
    buffered_.erase(0, end + 1);
    return line;
  }

  // Its only line, and that it ends well.
  nlohmann::json result() {
    const std::string text = line();
    EXPECT_EQ(line(), "");
    const std::string complaint = complaints();
    EXPECT_EQ(wait(), 0) << complaint;
    auto json = nlohmann::json::parse(text, nullptr, false);
    EXPECT_TRUE(json.is_object()) << text << complaint;
    return json;
  }

  void terminate() const { ::kill(process_, SIGTERM); }

  std::string complaints() {
    std::string all;
    while (read_some(errors_.get(), all)) {
    }
    return all;
  }

  // Its exit status, -1 if it was killed.
  int wait() {
    int status = -1;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  // Waits long, but not for ever: a program that hangs fails its test.
  static bool read_some(int fd, std::string& to) {
    pollfd waiting{fd, POLLIN, 0};
    char buffer[4096];
    if (::poll(&waiting, 1, 60'000) != 1) {
      ADD_FAILURE() << "lab_traffic says nothing";
      return false;
    }
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count <= 0) return false;
    to.append(buffer, static_cast<size_t>(count));
    return true;
  }

  pid_t process_ = -1;
  io::Fd input_, output_, errors_;
  std::string buffered_;
};

}  // namespace culvert::traffic
