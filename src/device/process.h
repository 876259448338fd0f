#pragma once
// Child processes: started without a shell, in a process group of their own, with a time limit and
// captured output.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace slipway::device {

struct ProcessOptions {
  std::string working_dir;  // "" = this process's
  std::vector<std::pair<std::string, std::string>>
      environment;                             // added to, or replacing, this process's
  double timeout_seconds = 0;                  // 0 = none
  size_t max_output_bytes = size_t{64} << 20;  // per stream; the rest is read and dropped
};

struct ProcessResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  bool timed_out = false;
  bool output_cut = false;  // more than max_output_bytes
  std::string out, err;
  double wall_ms = 0;
  int64_t peak_resident_bytes = 0;  // of the child and its waited-for children

  bool ok() const { return exit_code == 0 && !timed_out; }
  // "exit code 3", "killed by signal 9 (Killed)", "timed out after 2.0 s", with the last line of
  // standard error.
  std::string Describe() const;
};

// Runs argv[0] (looked up in PATH when it has no slash) to its end; standard input is empty. On a
// timeout, and when the program leaves children behind, the whole group is killed. A program that
// fails is a result, not an error. Errors: NotFound (no such program), Unavailable (the system
// refused), InvalidArgument (empty argv, no such folder).
Result<ProcessResult> RunProcess(const std::vector<std::string>& argv,
                                 const ProcessOptions& options = {});

// Full path of a program found in PATH; "" when there is none.
std::string FindProgram(const std::string& name);

}  // namespace slipway::device
