#include "device/command_device.h"

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

namespace slipway::device {
namespace {

namespace fs = std::filesystem;

// For the device's shell.
std::string Quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Result<std::vector<std::string>> Words(const std::string& text, const std::string& what) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  bool any = false;
  for (const char c : text) {
    if (quote) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      any = true;
    } else if (c == ' ' || c == '\t') {
      if (any || !word.empty()) words.push_back(std::exchange(word, ""));
      any = false;
    } else {
      word += c;
    }
  }
  if (quote) return InvalidArgument(what + ": a quote is not closed in '" + text + "'");
  if (any || !word.empty()) words.push_back(std::move(word));
  if (words.empty()) return InvalidArgument(what + " is empty");
  return words;
}

void Fill(std::vector<std::string>& words, const std::string& place, const std::string& by) {
  for (std::string& word : words) {
    for (size_t at = word.find(place); at != std::string::npos;
         at = word.find(place, at + by.size()))
      word.replace(at, place.size(), by);
  }
}

bool IsName(const std::string& text) {
  return !text.empty() && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == '@' || c == '%';
         });
}

class CommandDevice final : public Device {
 public:
  explicit CommandDevice(DeviceCommands commands)
      : commands_(std::move(commands)), arch_(commands_.arch == "any" ? "" : commands_.arch) {}
  ~CommandDevice() override {
    if (made_ && ::getpid() == owner_)
      (void)Shell("rm -rf " + Quoted(folder_), {.timeout_seconds = 30});
  }
  CommandDevice(const CommandDevice&) = delete;
  CommandDevice& operator=(const CommandDevice&) = delete;

  const std::string& name() const override { return commands_.name; }
  // What the device answered, when nobody said it before Check.
  const std::string& arch() const override { return arch_; }
  bool emulated() const override { return false; }
  bool shares_files() const override { return false; }

  Status Check() const override {
    for (const auto& [key, text] :
         {std::pair{"run", commands_.run}, {"push", commands_.push}, {"pull", commands_.pull}}) {
      SLIPWAY_ASSIGN_OR_RETURN(const auto words, Words(text, commands_.name + ": '" + key + "'"));
      if (FindProgram(words[0]).empty())
        return Unavailable(words[0] + ": not installed, but " + commands_.name +
                           " is reached by it");
    }
    SLIPWAY_ASSIGN_OR_RETURN(const ProcessResult said, Shell("uname -m", {.timeout_seconds = 30}));
    if (!said.ok()) return Unavailable(commands_.name + " does not answer: " + said.Describe());
    std::string machine = said.out.substr(0, said.out.find_first_of("\r\n"));
    if (machine == "arm64") machine = "aarch64";
    if (machine == "amd64") machine = "x86_64";
    if (arch_.empty()) arch_ = machine;
    if (machine != arch_)
      return Unavailable(commands_.name + " is " + machine + ", and the platform is for " + arch_);
    return OkStatus();
  }

  Result<ProcessResult> Run(const std::vector<std::string>& argv,
                            const ProcessOptions& options) override {
    if (argv.empty()) return InvalidArgument("no program to run");
    std::string line;
    if (!options.working_dir.empty()) line += "cd " + Quoted(options.working_dir) + " && ";
    for (const auto& [key, value] : options.environment) line += key + "=" + Quoted(value) + " ";
    for (size_t i = 0; i < argv.size(); ++i) line += (i ? " " : "") + Quoted(argv[i]);
    ProcessOptions local = options;
    local.working_dir.clear();
    local.environment.clear();
    return Shell(line, local);
  }

  Result<std::string> Push(const std::string& local_path) override {
    std::error_code ec;
    if (!fs::is_regular_file(local_path, ec))
      return NotFound(local_path + ": no such file to put on " + name());
    SLIPWAY_RETURN_IF_ERROR(MakeOwnFolder());
    std::string file = fs::path(local_path).filename().string();
    for (char& c : file) {
      if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
    }
    const std::string remote = folder_ + "/" + Unique() + "_" + file;
    SLIPWAY_RETURN_IF_ERROR(
        Copy(commands_.push, fs::absolute(local_path).string(), remote, "push"));
    const auto mode = fs::status(local_path, ec).permissions();
    if (!ec && (mode & fs::perms::owner_exec) != fs::perms::none)
      SLIPWAY_RETURN_IF_ERROR(Succeed("chmod +x " + Quoted(remote)));
    return remote;
  }
  Status Pull(const std::string& device_path, const std::string& local_path) override {
    return Copy(commands_.pull, fs::absolute(local_path).string(), device_path, "pull");
  }
  Status Remove(const std::vector<std::string>& paths) override {
    std::string line;
    for (const std::string& path : paths) {
      if (path.size() > folder_.size() + 1 && path.starts_with(folder_ + "/") &&
          path.find("/..") == std::string::npos)
        line += " " + Quoted(path);
    }
    return made_ && !line.empty() ? Succeed("rm -rf" + line) : OkStatus();
  }
  Result<std::string> MakeFolder() override {
    SLIPWAY_RETURN_IF_ERROR(MakeOwnFolder());
    std::string made = folder_ + "/" + Unique() + "_out";
    SLIPWAY_RETURN_IF_ERROR(Succeed("mkdir " + Quoted(made)));
    return made;
  }

 private:
  // Of forked processes, each has its own names in the one folder.
  std::string Unique() {
    const pid_t self = ::getpid();
    return (self == owner_ ? "" : std::to_string(self) + ".") + std::to_string(files_++);
  }
  Result<ProcessResult> Shell(const std::string& line, const ProcessOptions& options) const {
    SLIPWAY_ASSIGN_OR_RETURN(auto words, Words(commands_.run, commands_.name + ": 'run'"));
    Fill(words, "{command}", line);
    return RunProcess(words, options);
  }
  Status Succeed(const std::string& line) const {
    SLIPWAY_ASSIGN_OR_RETURN(const ProcessResult done, Shell(line, {.timeout_seconds = 60}));
    if (done.ok()) return OkStatus();
    return Unavailable("'" + line + "' on " + commands_.name + ": " + done.Describe());
  }
  Status Copy(const std::string& command, const std::string& local, const std::string& remote,
              const char* key) const {
    SLIPWAY_ASSIGN_OR_RETURN(auto words, Words(command, commands_.name + ": '" + key + "'"));
    Fill(words, "{local}", local);
    Fill(words, "{remote}", remote);
    SLIPWAY_ASSIGN_OR_RETURN(const ProcessResult done, RunProcess(words, {.timeout_seconds = 600}));
    if (done.ok()) return OkStatus();
    return Unavailable(std::string(key) + " of " + local + " (" + commands_.name +
                       "): " + done.Describe());
  }
  Status MakeOwnFolder() {
    if (made_) return OkStatus();
    std::random_device random;
    char text[32];
    std::snprintf(text, sizeof(text), "/slipway-%08x%08x", random(), random());
    folder_ = commands_.folder + text;
    SLIPWAY_RETURN_IF_ERROR(Succeed("mkdir -p " + Quoted(folder_)));
    made_ = true;
    return OkStatus();
  }

  DeviceCommands commands_;
  mutable std::string arch_;
  std::string folder_;
  bool made_ = false;
  int files_ = 0;
  pid_t owner_ = ::getpid();
};

Result<DeviceCommands> ReadFileOf(const std::string& path, DeviceCommands d) {
  const auto fail = [&](int line, const std::string& what) {
    return InvalidArgument(path + (line >= 0 ? ":" + std::to_string(line + 1) : "") + ": " + what);
  };
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (!root.IsMap())
      return fail(-1, "a device's file has the keys run, push, pull, folder and name");
    const std::pair<const char*, std::string*> keys[] = {{"run", &d.run},
                                                         {"push", &d.push},
                                                         {"pull", &d.pull},
                                                         {"folder", &d.folder},
                                                         {"name", &d.name}};
    for (const auto& entry : root) {
      const auto key = entry.first.as<std::string>();
      const auto found = std::find_if(std::begin(keys), std::end(keys),
                                      [&](const auto& k) { return key == k.first; });
      if (found == std::end(keys))
        return fail(entry.first.Mark().line,
                    "unknown key '" + key + "'; there are run, push, pull, folder and name");
      if (!entry.second.IsScalar())
        return fail(entry.second.Mark().line, "'" + key + "' must be text");
      *found->second = entry.second.as<std::string>();
    }
    for (const auto& [key, places] :
         {std::pair<const char*, std::vector<const char*>>{"run", {"{command}"}},
          {"push", {"{local}", "{remote}"}},
          {"pull", {"{local}", "{remote}"}}}) {
      if (!root[key]) return fail(-1, std::string("the key '") + key + "' is missing");
      const auto text = root[key].as<std::string>();
      if (auto words = Words(text, "'" + std::string(key) + "'"); !words.ok())
        return fail(root[key].Mark().line, words.status().message());
      for (const char* place : places) {
        if (text.find(place) == std::string::npos)
          return fail(root[key].Mark().line, std::string("'") + key + "' has no " + place);
      }
    }
    if (d.folder.empty() || d.folder[0] != '/')
      return fail(root["folder"] ? root["folder"].Mark().line : -1,
                  "'folder' must be an absolute path on the device");
  } catch (const YAML::BadFile&) {
    return NotFound(path + ": cannot be read");
  } catch (const YAML::Exception& e) {
    return fail(e.mark.line, e.msg);
  }
  return d;
}

}  // namespace

bool IsCommandDevice(const std::string& device) {
  const std::string kind = device.substr(0, device.find(':'));
  return kind == "ssh" || kind == "adb" || kind == "command";
}

Result<DeviceCommands> ParseDeviceCommands(const std::string& device, const std::string& arch) {
  const size_t colon = device.find(':');
  const std::string kind = device.substr(0, colon),
                    rest = colon == std::string::npos ? "" : device.substr(colon + 1);
  DeviceCommands d;
  d.name = device;
  d.arch = arch;
  if (kind == "command") return ReadFileOf(rest, std::move(d));
  if (kind == "adb") {
    if (!rest.empty() && !IsName(rest))
      return InvalidArgument("device '" + device + "': no serial number of adb");
    const std::string adb = rest.empty() ? "adb" : "adb -s " + rest;
    d.run = adb + " shell {command}";
    d.push = adb + " push {local} {remote}";
    d.pull = adb + " pull {remote} {local}";
    d.folder = "/data/local/tmp";
    return d;
  }
  const size_t port_at = rest.rfind(':');
  const std::string host = rest.substr(0, port_at),
                    port = port_at == std::string::npos ? "" : rest.substr(port_at + 1);
  const bool number =
      std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c); });
  if (kind != "ssh" || !IsName(host) || !number || (port_at != std::string::npos && port.empty()))
    return InvalidArgument("device '" + device +
                           "' is not of the form ssh:[USER@]HOST[:PORT], adb[:SERIAL] or "
                           "command:FILE.yaml");
  const char* config = std::getenv("SLIPWAY_SSH_CONFIG");
  const std::string common = std::string(" -o BatchMode=yes -o ConnectTimeout=10") +
                             (config ? " -F '" + std::string(config) + "'" : "");
  d.run = "ssh" + common + (port.empty() ? "" : " -p " + port) + " -- " + host + " {command}";
  const std::string scp = "scp -q" + common + (port.empty() ? "" : " -P " + port) + " --";
  d.push = scp + " {local} " + host + ":{remote}";
  d.pull = scp + " " + host + ":{remote} {local}";
  return d;
}

std::unique_ptr<Device> MakeCommandDevice(DeviceCommands commands) {
  return std::make_unique<CommandDevice>(std::move(commands));
}

}  // namespace slipway::device
