#include "device/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>

extern char** environ;

namespace slipway::device {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { Close(); }
  void Reset(int fd) {
    Close();
    fd_ = fd;
  }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

bool MakePipe(Fd* read_end, Fd* write_end) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return false;
  read_end->Reset(fds[0]);
  write_end->Reset(fds[1]);
  return true;
}

// Reads what is there; false at the end of the stream.
bool Drain(int fd, std::string* to, size_t limit, bool* cut) {
  char block[1 << 14];
  const ssize_t n = read(fd, block, sizeof block);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  const size_t room = limit - std::min(limit, to->size());
  const size_t keep = std::min(room, static_cast<size_t>(n));
  to->append(block, keep);
  if (keep < static_cast<size_t>(n)) *cut = true;
  return true;
}

// Whether the child has ended; it stays a zombie, so that its process group id cannot be reused
// yet.
bool HasEnded(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == pid;
}

std::vector<std::string> MergedEnvironment(const ProcessOptions& options) {
  std::map<std::string, std::string> values;
  for (char** e = environ; e && *e; ++e) {
    const char* equals = std::strchr(*e, '=');
    if (equals) values[std::string(*e, static_cast<size_t>(equals - *e))] = equals + 1;
  }
  for (const auto& [key, value] : options.environment) values[key] = value;
  std::vector<std::string> out;
  for (const auto& [key, value] : values) out.push_back(key + "=" + value);
  return out;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& t : texts) out.push_back(const_cast<char*>(t.c_str()));
  out.push_back(nullptr);
  return out;
}

int Spawn(const std::vector<std::string>& argv, const ProcessOptions& options, int out_fd,
          int err_fd, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
  posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
  if (!options.working_dir.empty()) {
    posix_spawn_file_actions_addchdir_np(&actions, options.working_dir.c_str());
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (int s : {SIGPIPE, SIGINT, SIGTERM, SIGCHLD}) sigaddset(&defaults, s);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const auto environment = MergedEnvironment(options);
  const int rc = posix_spawnp(pid, argv[0].c_str(), &actions, &attributes, Pointers(argv).data(),
                              Pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return rc;
}

}  // namespace

std::string ProcessResult::Describe() const {
  char text[96];
  if (timed_out) {
    std::snprintf(text, sizeof text, "timed out after %.1f s", wall_ms / 1000);
  } else if (signal) {
    std::snprintf(text, sizeof text, "killed by signal %d (%s)", signal, strsignal(signal));
  } else {
    std::snprintf(text, sizeof text, "exit code %d", exit_code);
  }
  std::string s = text;
  size_t end = err.find_last_not_of(" \r\n");
  if (end != std::string::npos) {
    const size_t begin = err.rfind('\n', end);
    s += ": " + err.substr(begin == std::string::npos ? 0 : begin + 1,
                           end - (begin == std::string::npos ? 0 : begin + 1) + 1);
  }
  return s;
}

std::string FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::string rest = path ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::string candidate = rest.substr(0, colon) + "/" + name;
    struct stat st {};
    if (stat(candidate.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    if (colon == std::string::npos) break;
    rest.erase(0, colon + 1);
  }
  return "";
}

Result<ProcessResult> RunProcess(const std::vector<std::string>& argv,
                                 const ProcessOptions& options) {
  if (argv.empty() || argv[0].empty()) return InvalidArgument("no program to run");
  if (!options.working_dir.empty()) {
    struct stat st {};
    if (stat(options.working_dir.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) {
      return InvalidArgument(options.working_dir + ": no such folder to run " + argv[0] + " in");
    }
  }
  Fd out_read, out_write, err_read, err_write;
  if (!MakePipe(&out_read, &out_write) || !MakePipe(&err_read, &err_write)) {
    return Unavailable(argv[0] + ": no pipe for its output (" + std::strerror(errno) + ")");
  }
  const auto start = Clock::now();
  pid_t pid = 0;
  if (const int rc = Spawn(argv, options, out_write.get(), err_write.get(), &pid); rc != 0) {
    if (rc == ENOENT) {
      return NotFound(argv[0] + ": no such program; install it or correct its path");
    }
    return Unavailable(argv[0] + ": cannot be started (" + std::strerror(rc) + ")");
  }
  out_write.Close();
  err_write.Close();

  ProcessResult result;
  bool ended = false;
  while (!ended) {
    const double elapsed = SecondsSince(start);
    if (options.timeout_seconds > 0 && elapsed >= options.timeout_seconds) {
      result.timed_out = true;
      break;
    }
    pollfd fds[2] = {{out_read.get(), POLLIN, 0}, {err_read.get(), POLLIN, 0}};
    // 10 ms: a program whose children keep the pipes open is noticed soon after its own end.
    const int ready = poll(fds, 2, out_read.get() < 0 && err_read.get() < 0 ? 1 : 10);
    if (ready > 0) {
      if (fds[0].revents &&
          !Drain(out_read.get(), &result.out, options.max_output_bytes, &result.output_cut)) {
        out_read.Close();
      }
      if (fds[1].revents &&
          !Drain(err_read.get(), &result.err, options.max_output_bytes, &result.output_cut)) {
        err_read.Close();
      }
      if (out_read.get() >= 0 || err_read.get() >= 0) {
        if (!result.output_cut) continue;
      }
    }
    ended = HasEnded(pid);
  }
  if (result.timed_out) {  // a moment to clean up, then the end
    kill(-pid, SIGTERM);
    const auto asked = Clock::now();
    while (!HasEnded(pid) && SecondsSince(asked) < 0.2) usleep(2000);
  }
  kill(-pid, SIGKILL);
  for (auto [fd, text] : {std::pair{&out_read, &result.out}, std::pair{&err_read, &result.err}}) {
    if (fd->get() < 0) continue;
    fcntl(fd->get(), F_SETFL, O_NONBLOCK);  // what is still in the pipe
    pollfd p{fd->get(), POLLIN, 0};
    while (poll(&p, 1, 0) > 0 &&
           Drain(fd->get(), text, options.max_output_bytes, &result.output_cut)) {
    }
  }
  int status = 0;
  rusage usage{};
  while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  result.wall_ms = SecondsSince(start) * 1000;
  result.peak_resident_bytes = static_cast<int64_t>(usage.ru_maxrss) * 1024;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

}  // namespace slipway::device
