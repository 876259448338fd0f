#pragma once
// What of this machine a latency depends on, read from /proc and /sys: part of every platform key
// and of every report.

#include <cstdint>
#include <optional>
#include <string>

namespace slipway::device {

struct HostFacts {
  std::string cpu_model;                // "" when the system does not say
  std::string arch;                     // "x86_64"
  std::string features;                 // as FeatureNames prints them
  int cpus = 1;                         // this process may use
  std::string affinity;                 // "0-3,6"
  std::string governor;                 // "performance", ...; "" when unreadable (virtual machines)
  std::optional<double> frequency_mhz;  // current, of the first CPU
  std::optional<double> temperature_c;  // the hottest zone
  double load1 = 0;                     // load average over a minute
  std::string kernel;                   // "Linux 6.1.0"
  std::string hostname;
  int64_t memory_bytes = 0;
  bool virtual_machine = false;  // the hypervisor bit of /proc/cpuinfo
  std::string power;             // "mains", "battery" or "" when unknown
};

// `root` replaces "/" in front of proc/ and sys/ (tests).
HostFacts ReadHostFacts(const std::string& root = "/");

// "Intel ... · 2 CPUs · governor performance · load 0.3", one line for tables and reports.
std::string Summary(const HostFacts& facts);

// Largest resident size this process ever had; 0 when unreadable.
int64_t PeakResidentBytes();
// Seconds since 1970 as "2025-03-01T12:00:00Z".
std::string UtcTime(int64_t unix_seconds);
std::string UtcNow();

}  // namespace slipway::device
