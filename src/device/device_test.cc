#include "device/device.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/cpu.h"
#include "device/host_facts.h"
#include "device/measure.h"

namespace slipway::device {
namespace {

namespace fs = std::filesystem;

class TempDir : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "slipway-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  void TearDown() override { fs::remove_all(path_); }
  std::string path_;
};

class Process : public TempDir {};

TEST_F(Process, CapturesBothStreamsAndTheExitCode) {
  const auto r = RunProcess({"sh", "-c", "echo out; echo one >&2; echo two >&2; exit 3"});
  ASSERT_TRUE(r.ok()) << r.status().ToString();
  EXPECT_EQ(r->out, "out\n");
  EXPECT_EQ(r->err, "one\ntwo\n");
  EXPECT_EQ(r->exit_code, 3);
  EXPECT_FALSE(r->ok());
  EXPECT_EQ(r->Describe(), "exit code 3: two");
  EXPECT_GT(r->peak_resident_bytes, 0);
  EXPECT_EQ(RunProcess({"true"})->Describe(), "exit code 0");
}

TEST_F(Process, ArgumentsAreNotAShell) {
  const auto r = RunProcess({"printf", "%s|", "a b", "$HOME", "; ls", ""});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "a b|$HOME|; ls||");
}

TEST_F(Process, EnvironmentFolderAndEmptyInput) {
  const auto r = RunProcess({"sh", "-c", "pwd; echo $SLIPWAY_X; cat"},
                            {.working_dir = path_, .environment = {{"SLIPWAY_X", "7"}}});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, fs::canonical(path_).string() + "\n7\n");
  EXPECT_NE(RunProcess({"true"}, {.working_dir = path_ + "/no"})
                .status()
                .message()
                .find("no such folder"),
            std::string::npos);
}

TEST_F(Process, MissingProgram) {
  const auto r = RunProcess({"slipway-no-such-program"});
  EXPECT_EQ(r.status().code(), StatusCode::kNotFound);
  EXPECT_NE(r.status().message().find("install"), std::string::npos);
  EXPECT_FALSE(RunProcess({}).ok());
}

TEST_F(Process, TimeoutKillsTheWholeGroup) {
  const std::string pid_file = path_ + "/pid";
  const auto start = std::chrono::steady_clock::now();
  const auto r = RunProcess({"sh", "-c", "sleep 60 & echo $! > " + pid_file + "; echo begun; wait"},
                            {.timeout_seconds = 0.5});
  ASSERT_TRUE(r.ok());
  EXPECT_TRUE(r->timed_out);
  EXPECT_EQ(r->out, "begun\n");
  EXPECT_NE(r->Describe().find("timed out"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  int child = 0;
  std::ifstream(pid_file) >> child;
  ASSERT_GT(child, 0);
  // Killed, and reaped by init sooner or later: a zombie is dead too.
  bool dead = false;
  for (int i = 0; i < 200 && !dead; ++i) {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string id, name, state;
    dead = !(stat >> id >> name >> state) || state == "Z";
    if (!dead) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(dead);
}

TEST_F(Process, IgnoringTermIsKilled) {
  const auto r =
      RunProcess({"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, {.timeout_seconds = 0.3});
  ASSERT_TRUE(r.ok());
  EXPECT_TRUE(r->timed_out);
  EXPECT_EQ(r->signal, SIGKILL);
}

TEST_F(Process, ADaemonThatKeepsThePipeDoesNotHang) {
  const auto start = std::chrono::steady_clock::now();
  const auto r = RunProcess({"sh", "-c", "sleep 30 & echo done"});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(Process, LongOutputIsCutNotBlocked) {
  const auto r = RunProcess({"sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"},
                            {.max_output_bytes = 1000});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out.size(), 1000u);
  EXPECT_TRUE(r->output_cut);
  EXPECT_EQ(r->err, "end\n");
  EXPECT_EQ(r->exit_code, 0);
  const auto whole = RunProcess({"head", "-c", "3000000", "/dev/zero"});
  EXPECT_EQ(whole->out.size(), 3000000u);
}

TEST_F(Process, ManyAtOnceFromThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const auto r = RunProcess({"echo", "x"});
        good += r.ok() && r->out == "x\n";
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(good, 40);
}

TEST(Stats, KnownAnswers) {
  std::vector<float> v;
  for (int i = 1; i <= 100; ++i) v.push_back(static_cast<float>(101 - i));
  const LatencyStats s = Summarize(v);
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.max, 100);
  EXPECT_DOUBLE_EQ(s.mean, 50.5);
  EXPECT_DOUBLE_EQ(s.p50, 50.5);
  EXPECT_NEAR(s.p90, 90.1, 1e-9);
  EXPECT_NEAR(s.p99, 99.01, 1e-9);
  EXPECT_NEAR(s.spread, (90.1 - 10.9) / 50.5, 1e-9);
  EXPECT_NEAR(s.drift, -50 / 50.5, 1e-9);
  EXPECT_EQ(Summarize({}).n, 0);
  EXPECT_EQ(Summarize(std::vector<float>{2}).p99, 2);
}

TEST(Stats, UnstableIsMarkedWithItsReason) {
  std::vector<float> calm(50, 1.0f), noisy = calm, drifting;
  for (size_t i = 0; i < 50; i += 4) noisy[i] = 1.5f;
  for (size_t i = 0; i < 50; ++i) drifting.push_back(i < 25 ? 1.0f : 1.07f);
  calm[10] = 9.0f;
  EXPECT_FALSE(FromSamples(calm, 3).unstable);
  EXPECT_EQ(FromSamples(calm, 3).stats.outliers, 1);
  EXPECT_NE(FromSamples(noisy, 3).unstable_why.find("spread"), std::string::npos);
  EXPECT_NE(FromSamples(drifting, 3).unstable_why.find("drift +0.0"), std::string::npos);
  EXPECT_TRUE(FromSamples({1.0f}, 0).unstable);
}

TEST(Measure, WarmsUpSamplesAndGroupsShortRuns) {
  int calls = 0;
  double last = -1;
  const auto m = Measure(
      [&] {
        ++calls;
        return OkStatus();
      },
      {.min_samples = 20, .max_samples = 50, .min_seconds = 0.0},
      [&](double f) {
        EXPECT_GE(f, last);
        last = f;
      });
  ASSERT_TRUE(m.ok());
  EXPECT_EQ(last, 1);
  EXPECT_GE(m->warmup_runs, 3);
  EXPECT_GT(m->runs_per_sample, 1);
  EXPECT_GE(m->samples_ms.size(), 20u);
  EXPECT_EQ(calls, m->warmup_runs + static_cast<int>(m->samples_ms.size()) * m->runs_per_sample);
}

TEST(Measure, LimitsHoldAndErrorsPass) {
  const auto slow = [] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return OkStatus();
  };
  const auto m =
      Measure(slow, {.max_warmup_seconds = 0.05, .min_samples = 1000, .max_seconds = 0.1});
  ASSERT_TRUE(m.ok());
  EXPECT_LT(m->samples_ms.size(), 10u);
  EXPECT_GE(m->stats.min, 20);
  EXPECT_EQ(m->runs_per_sample, 1);
  int calls = 0;
  const auto failed = Measure([&] { return ++calls == 5 ? Internal("boom") : OkStatus(); });
  EXPECT_EQ(failed.status().message(), "boom");
  EXPECT_FALSE(Measure(slow, {.min_samples = 0}).ok());
}

class Facts : public TempDir {};

TEST_F(Facts, ThisMachine) {
  const HostFacts f = ReadHostFacts();
  EXPECT_FALSE(f.arch.empty());
  EXPECT_GE(f.cpus, 1);
  EXPECT_FALSE(f.affinity.empty());
  EXPECT_GT(f.memory_bytes, 0);
  EXPECT_NE(Summary(f).find("load"), std::string::npos);
  EXPECT_GT(PeakResidentBytes(), 1 << 20);
  EXPECT_EQ(UtcTime(1700000000), "2023-11-14T22:13:20Z");
}

TEST_F(Facts, ReadsABoardsFiles) {
  const auto put = [&](const std::string& name, const std::string& text) {
    const fs::path p = fs::path(path_) / name;
    fs::create_directories(p.parent_path());
    std::ofstream(p) << text;
  };
  put("proc/cpuinfo", "model name\t: Board CPU\nflags\t\t: fpu hypervisor sse\n");
  put("proc/loadavg", "1.25 0.5 0.1 1/100 77\n");
  put("proc/meminfo", "MemTotal:        1024 kB\n");
  put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n");
  put("sys/class/thermal/thermal_zone0/temp", "41000\n");
  put("sys/class/thermal/thermal_zone1/temp", "56500\n");
  put("sys/class/power_supply/BAT0/type", "Battery\n");
  put("sys/class/power_supply/BAT0/status", "Discharging\n");
  const HostFacts f = ReadHostFacts(path_ + "/");
  EXPECT_EQ(f.cpu_model, "Board CPU");
  EXPECT_TRUE(f.virtual_machine);
  EXPECT_EQ(f.load1, 1.25);
  EXPECT_EQ(f.memory_bytes, 1 << 20);
  EXPECT_EQ(f.governor, "powersave");
  EXPECT_EQ(f.frequency_mhz, 1500);
  EXPECT_EQ(f.temperature_c, 56.5);
  EXPECT_EQ(f.power, "battery");
  const HostFacts none = ReadHostFacts(path_ + "/nothing/");  // nothing readable is not an error
  EXPECT_EQ(none.governor, "");
  EXPECT_FALSE(none.temperature_c);
}

class Devices : public TempDir {};

TEST_F(Devices, LocalRunsAndCopies) {
  auto device = MakeDevice("local");
  ASSERT_TRUE(device.ok());
  EXPECT_FALSE((*device)->emulated());
  EXPECT_EQ((*device)->Run({"echo", "hi"})->out, "hi\n");
  std::ofstream(path_ + "/a") << "text";
  const auto there = (*device)->Push(path_ + "/a");
  ASSERT_TRUE(there.ok());
  EXPECT_TRUE((*device)->Pull(*there, path_ + "/b").ok());
  EXPECT_TRUE((*device)->Pull(*there, path_ + "/a").ok());
  EXPECT_TRUE(fs::exists(path_ + "/b"));
  EXPECT_FALSE((*device)->Push(path_ + "/no").ok());
  EXPECT_NE(MakeDevice("toaster").status().message().find("qemu-aarch64"), std::string::npos);
}

// A board whose commands are this machine's shell and cp.
class Commands : public Devices {
 protected:
  std::string File(const std::string& text) {
    std::ofstream(path_ + "/device.yaml") << text;
    return "command:" + path_ + "/device.yaml";
  }
  std::string Board() {
    return File(
        "run: sh -c {command}\npush: cp {local} {remote}\npull: cp {remote} {local}\n"
        "folder: " +
        path_ + "/board\nname: board7\n");
  }
};

TEST_F(Commands, RunPushAndPull) {
  {
    auto device = MakeDevice(Board());
    ASSERT_TRUE(device.ok()) << device.status().ToString();
    ASSERT_TRUE((*device)->Check().ok()) << (*device)->Check().ToString();
    EXPECT_EQ((*device)->name(), "board7");
    EXPECT_EQ((*device)->arch(), ThisCpu().arch);
    EXPECT_FALSE((*device)->shares_files());
    std::ofstream(path_ + "/a b;c") << "text";
    const auto there = (*device)->Push(path_ + "/a b;c");
    ASSERT_TRUE(there.ok()) << there.status().ToString();
    EXPECT_TRUE(there->starts_with(path_ + "/board/slipway-")) << *there;
    // Arguments and variables reach the program as they are.
    const auto run = (*device)->Run({"printf", "%s|", "a b", "$HOME", "it's", "`x`;"},
                                    {.environment = {{"A", "b c"}}});
    ASSERT_TRUE(run.ok());
    EXPECT_EQ(run->out, "a b|$HOME|it's|`x`;|");
    EXPECT_EQ((*device)->Run({"sh", "-c", "echo $A"}, {.environment = {{"A", "b  c"}}})->out,
              "b c\n");
    const auto folder = (*device)->MakeFolder();
    ASSERT_TRUE(folder.ok());
    ASSERT_TRUE((*device)->Run({"cp", *there, *folder + "/x"})->ok());
    ASSERT_TRUE((*device)->Pull(*folder + "/x", path_ + "/back").ok());
    EXPECT_EQ((*device)->Run({"sh", "-c", "exit 7"})->exit_code, 7);
    EXPECT_FALSE((*device)->Pull(*folder + "/none", path_ + "/none").ok());
    EXPECT_TRUE((*device)->Run({"sleep", "30"}, {.timeout_seconds = 0.2})->timed_out);
  }
  EXPECT_TRUE(fs::exists(path_ + "/back"));
  EXPECT_TRUE(fs::is_empty(path_ + "/board"));  // nothing stays behind
}

TEST_F(Commands, AnotherArchitectureIsRefused) {
  const std::string other = ThisCpu().arch == "riscv64" ? "aarch64" : "riscv64";
  const Status status = (*MakeDevice(Board(), other))->Check();
  EXPECT_NE(status.message().find("the platform is for " + other), std::string::npos)
      << status.ToString();
}

TEST_F(Commands, WrongDescriptionsAreNamedWithTheirLine) {
  const auto error = [&](const std::string& device) {
    return MakeDevice(device).status().message();
  };
  for (const auto& [text, says] : std::vector<std::pair<std::string, std::string>>{
           {"run: sh {command}\npush: cp {local}\npull: cp {remote} {local}\n",
            ":2: 'push' has no {remote}"},
           {"run: sh {command}\npush: cp {local} {remote}\n", "'pull' is missing"},
           {"run: sh {command}\npsh: x\n", ":2: unknown key 'psh'"},
           {"run: \"sh '{command}\"\npush: cp {local} {remote}\npull: cp {remote} {local}\n",
            "a quote is not closed"},
           {"run: [a]\n", ":1: 'run' must be text"},
           {"run: sh {command}\npush: cp {local} {remote}\npull: cp {remote} {local}\nfolder: "
            "tmp\n",
            ":4: 'folder'"},
           {"- a\n", "has the keys"},
           {"run: {\n", "device.yaml"}}) {
    EXPECT_NE(error(File(text)).find(says), std::string::npos) << text << error(File(text));
  }
  EXPECT_NE(error("command:/nowhere.yaml").find("cannot be read"), std::string::npos);
  for (const char* bad :
       {"ssh:", "ssh:-oProxyCommand=x", "ssh:host:", "ssh:host:2x", "ssh:a b", "adb:-x", "adb:a;b"})
    EXPECT_FALSE(MakeDevice(bad).ok()) << bad;
  for (const char* good : {"ssh:board", "ssh:root@10.0.0.2:2222", "adb", "adb:emulator-5554"})
    EXPECT_TRUE(MakeDevice(good).ok()) << good << MakeDevice(good).status().ToString();
}

TEST_F(Commands, AProgramThatIsNotInstalledIsNamed) {
  const std::string device =
      File("run: no-such-tool {command}\npush: cp {local} {remote}\npull: cp {remote} {local}\n");
  EXPECT_NE((*MakeDevice(device))->Check().message().find("no-such-tool: not installed"),
            std::string::npos);
}

TEST_F(Devices, QemuRunsAnAarch64Program) {
  auto device = MakeDevice("qemu-aarch64");
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE((*device)->emulated());
  if (!(*device)->Check().ok()) GTEST_SKIP() << (*device)->Check().message();
  if (FindProgram("aarch64-linux-gnu-gcc").empty()) GTEST_SKIP() << "no aarch64 compiler";
  std::ofstream(path_ + "/a.c")
      << "#include <stdio.h>\nint main(int n, char** v) {\n"
         "#ifdef __aarch64__\nprintf(\"arm %s\", v[n - 1]); return 5;\n#endif\n}\n";
  const auto built = RunProcess({"aarch64-linux-gnu-gcc", path_ + "/a.c", "-o", path_ + "/a"});
  ASSERT_TRUE(built.ok() && built->ok()) << built->err;
  const auto r = (*device)->Run({path_ + "/a", "x y"});
  ASSERT_TRUE(r.ok()) << r.status().ToString();
  EXPECT_EQ(r->out, "arm x y");
  EXPECT_EQ(r->exit_code, 5);
  EXPECT_EQ((*MakeDevice("qemu-aarch64:cortex-a53"))->Run({path_ + "/a", "z"})->out, "arm z");
  EXPECT_NE((*device)->Run({path_ + "/none"}).status().message().find("no such program"),
            std::string::npos);
}

}  // namespace
}  // namespace slipway::device
