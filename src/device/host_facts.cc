#include "device/host_facts.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/cpu.h"
#include "base/thread_pool.h"

namespace slipway::device {
namespace {

namespace fs = std::filesystem;

std::string FirstLine(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\0')) {
    line.pop_back();
  }
  return line;
}

std::optional<double> Number(const std::string& text) {
  char* end = nullptr;
  const double v = std::strtod(text.c_str(), &end);
  if (end == text.c_str()) return std::nullopt;
  return v;
}

std::string Affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return "";
  std::string out;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(i, &set)) continue;
    int last = i;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) ++last;
    if (!out.empty()) out += ",";
    out += std::to_string(i);
    if (last > i) out += "-" + std::to_string(last);
    i = last;
  }
  return out;
}

std::optional<double> HottestZone(const std::string& root) {
  std::optional<double> hottest;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(root + "sys/class/thermal", ec)) {
    if (!entry.path().filename().string().starts_with("thermal_zone")) continue;
    const auto milli = Number(FirstLine((entry.path() / "temp").string()));
    if (milli && *milli > 0 && (!hottest || *milli / 1000 > *hottest)) hottest = *milli / 1000;
  }
  return hottest;
}

std::string PowerSource(const std::string& root) {
  std::error_code ec;
  bool discharging = false, any = false;
  for (const auto& entry : fs::directory_iterator(root + "sys/class/power_supply", ec)) {
    const std::string type = FirstLine((entry.path() / "type").string());
    if (type == "Mains" && FirstLine((entry.path() / "online").string()) == "1") return "mains";
    if (type == "Battery") {
      any = true;
      discharging |= FirstLine((entry.path() / "status").string()) == "Discharging";
    }
  }
  return !any ? "" : discharging ? "battery" : "mains";
}

}  // namespace

HostFacts ReadHostFacts(const std::string& root) {
  HostFacts f;
  const CpuInfo& cpu = ThisCpu();
  f.arch = cpu.arch;
  f.cpu_model = cpu.model;
  f.features = FeatureNames(cpu.features);
  f.cpus = AvailableCpus();
  f.affinity = Affinity();
  std::ifstream info(root + "proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string value = colon + 2 <= line.size() ? line.substr(colon + 2) : "";
    if (line.starts_with("model name") && (f.cpu_model.empty() || root != "/")) f.cpu_model = value;
    if (line.starts_with("cpu MHz") && !f.frequency_mhz) f.frequency_mhz = Number(value);
    if (line.starts_with("flags"))
      f.virtual_machine |= (" " + value + " ").find(" hypervisor ") != std::string::npos;
  }
  const std::string cpufreq = root + "sys/devices/system/cpu/cpu0/cpufreq/";
  f.governor = FirstLine(cpufreq + "scaling_governor");
  if (const auto khz = Number(FirstLine(cpufreq + "scaling_cur_freq")))
    f.frequency_mhz = *khz / 1000;
  f.temperature_c = HottestZone(root);
  f.load1 = Number(FirstLine(root + "proc/loadavg")).value_or(0);
  std::ifstream memory(root + "proc/meminfo");
  for (std::string line; std::getline(memory, line);) {
    if (line.starts_with("MemTotal:")) {
      f.memory_bytes = static_cast<int64_t>(Number(line.substr(9)).value_or(0)) * 1024;
    }
  }
  f.power = PowerSource(root);
  utsname name{};
  if (uname(&name) == 0) {
    f.kernel = std::string(name.sysname) + " " + name.release;
    f.hostname = name.nodename;
  }
  return f;
}

std::string Summary(const HostFacts& f) {
  char load[32];
  std::snprintf(load, sizeof load, "%.2f", f.load1);
  std::string s = f.cpu_model.empty() ? f.arch : f.cpu_model;
  s += " · " + std::to_string(f.cpus) + (f.cpus == 1 ? " CPU" : " CPUs");
  if (!f.governor.empty()) s += " · governor " + f.governor;
  if (f.virtual_machine) s += " · virtual machine";
  return s + " · load " + load;
}

int64_t PeakResidentBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:"))
      return static_cast<int64_t>(Number(line.substr(6)).value_or(0)) * 1024;
  }
  return 0;
}

std::string UtcTime(int64_t unix_seconds) {
  const std::time_t t = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  gmtime_r(&t, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string UtcNow() {
  return UtcTime(std::chrono::duration_cast<std::chrono::seconds>(
                     std::chrono::system_clock::now().time_since_epoch())
                     .count());
}

}  // namespace slipway::device
