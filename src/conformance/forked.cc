#include "conformance/forked.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

namespace slipway::conformance {
namespace {

struct Child {
  size_t index;
  pid_t pid;
  int fd;
  std::string text;
};

Result<Child> Start(size_t index, int timeout,
                    const std::function<void(size_t, const Write&)>& work) {
  int ends[2];
  if (::pipe(ends) != 0) return Unavailable(std::string("pipe: ") + std::strerror(errno));
  const pid_t pid = ::fork();
  if (pid < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return Unavailable(std::string("fork: ") + std::strerror(errno) + "; try --jobs 1");
  }
  if (pid > 0) {
    ::close(ends[1]);
    return Child{index, pid, ends[0], ""};
  }
  ::close(ends[0]);
  ::alarm(static_cast<unsigned>(timeout));
  bool whole = true;
  work(index, [&](const std::string& text) {
    for (size_t at = 0; whole && at < text.size();) {
      const ssize_t n = ::write(ends[1], text.data() + at, text.size() - at);
      if (n < 0 && errno == EINTR) continue;
      whole = n > 0;
      at += whole ? static_cast<size_t>(n) : 0;
    }
  });
  ::_exit(whole ? 0 : 3);
}

ForkedResult Finish(Child& child, int timeout) {
  ::close(child.fd);
  int state = 0;
  while (::waitpid(child.pid, &state, 0) < 0 && errno == EINTR) {
  }
  ForkedResult result{std::move(child.text), ""};
  if (WIFSIGNALED(state) && WTERMSIG(state) == SIGALRM) {
    result.ended = "did not end within " + std::to_string(timeout) + " s; raise --timeout";
  } else if (WIFSIGNALED(state)) {
    result.ended = std::string("crashed: ") + ::strsignal(WTERMSIG(state));
  } else if (WEXITSTATUS(state) != 0) {
    result.ended = "ended with code " + std::to_string(WEXITSTATUS(state));
  }
  return result;
}

}  // namespace

Status RunForked(size_t count, int jobs, int timeout,
                 const std::function<void(size_t, const Write&)>& work,
                 const std::function<void(size_t, const ForkedResult&)>& done) {
  const size_t most =
      jobs > 0 ? static_cast<size_t>(jobs) : std::max(1u, std::thread::hardware_concurrency());
  std::vector<Child> running;
  for (size_t next = 0; next < count || !running.empty();) {
    while (next < count && running.size() < most) {
      auto child = Start(next, timeout, work);
      if (!child.ok()) {
        if (running.empty()) return child.status();
        break;
      }
      running.push_back(std::move(*child));
      ++next;
    }
    std::vector<pollfd> fds;
    for (const Child& c : running) fds.push_back({c.fd, POLLIN, 0});
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    for (size_t i = running.size(); i-- > 0;) {
      if (!fds[i].revents) continue;
      char buffer[4096];
      const ssize_t n = ::read(running[i].fd, buffer, sizeof(buffer));
      if (n > 0) {
        running[i].text.append(buffer, static_cast<size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        const ForkedResult result = Finish(running[i], timeout);
        done(running[i].index, result);
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  }
  return OkStatus();
}

}  // namespace slipway::conformance
