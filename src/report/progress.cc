#include "report/progress.h"

#include <unistd.h>

#include <algorithm>

#include "report/format.h"
#include "report/table.h"

namespace slipway::report {
namespace {

constexpr double kBarSeconds = 0.1;   // between redraws
constexpr double kLineSeconds = 5.0;  // between lines of a log

std::string Duration(double seconds) {
  char text[48];
  const int64_t s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60)
    std::snprintf(text, sizeof text, "%lld s", static_cast<long long>(s));
  else if (s < 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(s / 60),
                  static_cast<long long>(s % 60));
  else
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", static_cast<long long>(s / 3600),
                  static_cast<long long>(s / 60 % 60), static_cast<long long>(s % 60));
  return text;
}

double SecondsSince(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

}  // namespace

ProgressMode ProgressModeFor(bool quiet) {
  if (quiet) return ProgressMode::kNone;
  return isatty(STDERR_FILENO) ? ProgressMode::kBar : ProgressMode::kLines;
}

Progress::Progress(std::string label, int64_t total, ProgressMode mode, std::FILE* out)
    : label_(Printable(label)),
      total_(std::max<int64_t>(total, 0)),
      mode_(mode),
      out_(out),
      start_(std::chrono::steady_clock::now()),
      drawn_(start_) {
  if (mode_ == ProgressMode::kBar) Draw(false);
}

Progress::~Progress() { Finish(); }

void Progress::Update(int64_t done, const std::string& note) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  done_ = done;
  note_ = Printable(note);
  const double wait = mode_ == ProgressMode::kBar ? kBarSeconds : kLineSeconds;
  if (SecondsSince(drawn_) >= wait) Draw(false);
}

void Progress::Add(int64_t steps) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  done_ += steps;
  const double wait = mode_ == ProgressMode::kBar ? kBarSeconds : kLineSeconds;
  if (SecondsSince(drawn_) >= wait) Draw(false);
}

void Progress::Finish(const std::string& note) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  finished_ = true;
  if (!note.empty()) note_ = Printable(note);
  Draw(true);
}

void Progress::Draw(bool last) {
  if (mode_ == ProgressMode::kNone) return;
  drawn_ = std::chrono::steady_clock::now();
  const double elapsed = SecondsSince(start_);
  std::string figures;
  if (total_ > 0) {
    figures = std::to_string(std::min(done_, total_)) + "/" + std::to_string(total_);
  } else {
    figures = std::to_string(done_);
  }
  if (last) {
    figures += "  " + Duration(elapsed);
  } else if (total_ > 0 && done_ > 0 && done_ < total_ && elapsed > 0.5) {
    figures +=
        "  " +
        Duration(elapsed * static_cast<double>(total_ - done_) / static_cast<double>(done_)) +
        " left";
  }
  if (!note_.empty()) figures += "  " + note_;
  if (mode_ == ProgressMode::kLines) {
    std::fprintf(out_, "%s: %s\n", label_.c_str(), figures.c_str());
    std::fflush(out_);
    return;
  }
  std::string line = label_ + " ";
  if (total_ > 0) {
    constexpr int kCells = 24;
    const double fraction =
        std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
    const int eighths = static_cast<int>(fraction * kCells * 8);
    constexpr const char* kPart[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    std::string bar;
    for (int i = 0; i < eighths / 8; ++i) bar += "█";
    bar += kPart[eighths % 8];
    bar += std::string(static_cast<size_t>(kCells - DisplayWidth(bar)), ' ');
    line += "│" + bar + "│ ";
  }
  line += figures;
  const int width = TerminalWidth(fileno(out_));
  if (width > 1 && DisplayWidth(line) >= width) line = Shorten(line, width - 1);
  std::fprintf(out_, "\r%s\x1b[K%s", line.c_str(), last ? "\n" : "");
  std::fflush(out_);
}

}  // namespace slipway::report
