#pragma once
// Reading YAML files that people write: what is wrong is said with file, line, key and what may be.

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace slipway::compiler {

// Reads one mapping with known keys; remembers the first mistake with its line.
class YamlReader {
 public:
  YamlReader(const YAML::Node& node, std::string source, std::string what)
      : node_(node), source_(std::move(source)), what_(std::move(what)) {
    if (!node_.IsMap()) Fail(node_, what_ + " must be a mapping of keys to values");
  }

  void Fail(const YAML::Node& at, const std::string& message) {
    if (!status_.ok()) return;
    status_ = InvalidArgument(source_ + ":" + std::to_string(at.Mark().line + 1) + ": " + message);
  }

  template <typename T>
  void Get(const char* key, T& to, const char* type) {
    known_.push_back(key);
    if (!status_.ok() || !node_[key]) return;
    try {
      to = node_[key].as<T>();
    } catch (const YAML::Exception&) {
      Fail(node_[key], what_ + " key '" + key + "' must be " + type);
    }
  }
  void GetText(const char* key, std::string& to, std::initializer_list<const char*> allowed = {}) {
    Get(key, to, "text");
    if (!status_.ok() || !node_[key] || allowed.size() == 0) return;
    if (std::any_of(allowed.begin(), allowed.end(), [&](const char* a) { return to == a; })) return;
    std::string list;
    for (const char* a : allowed) list += (list.empty() ? "" : ", ") + std::string(a);
    Fail(node_[key], what_ + " key '" + key + "' is '" + to + "'; it may be " + list);
  }
  void GetList(const char* key, std::vector<std::string>& to) {
    Get(key, to, "a list of names, as in [a, b]");
  }
  YAML::Node Child(const char* key) {
    known_.push_back(key);
    return node_[key];
  }
  void Require(const char* key) { required_.push_back(key); }
  Status Finish() {
    if (!status_.ok()) return status_;
    for (const auto& entry : node_) {
      std::string key = entry.first.as<std::string>("");
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string list;
      for (const auto& k : known_) list += (list.empty() ? "" : ", ") + k;
      Fail(entry.first, what_ + " has an unknown key '" + key + "'; known keys: " + list);
    }
    for (const std::string& key : required_) {
      if (!node_[key]) Fail(node_, what_ + " has no key '" + key + "'; add it");
    }
    return status_;
  }
  void Merge(Status s) {
    if (status_.ok()) status_ = std::move(s);
  }

 private:
  YAML::Node node_;
  std::string source_, what_;
  std::vector<std::string> known_, required_;
  Status status_;
};

}  // namespace slipway::compiler
