#include "model/ops/attributes.h"

#include <algorithm>

namespace slipway::ops {
namespace {

template <typename Entries>
auto LowerBound(Entries& entries, std::string_view name) {
  return std::lower_bound(entries.begin(), entries.end(), name,
                          [](const auto& e, std::string_view n) { return e.first < n; });
}

template <typename T>
const T* Get(const AttributeValue* v) {
  return v ? std::get_if<T>(v) : nullptr;
}

}  // namespace

void Attributes::Set(std::string_view name, AttributeValue value) {
  auto it = LowerBound(entries_, name);
  if (it != entries_.end() && it->first == name) {
    it->second = std::move(value);
  } else {
    entries_.insert(it, {std::string(name), std::move(value)});
  }
}

void Attributes::Erase(std::string_view name) {
  auto it = LowerBound(entries_, name);
  if (it != entries_.end() && it->first == name) entries_.erase(it);
}

const AttributeValue* Attributes::Find(std::string_view name) const {
  auto it = LowerBound(entries_, name);
  return it != entries_.end() && it->first == name ? &it->second : nullptr;
}

int64_t Attributes::Int(std::string_view name, int64_t fallback) const {
  const auto* v = Get<int64_t>(Find(name));
  return v ? *v : fallback;
}

float Attributes::Float(std::string_view name, float fallback) const {
  const auto* v = Get<float>(Find(name));
  return v ? *v : fallback;
}

std::string_view Attributes::String(std::string_view name, std::string_view fallback) const {
  const auto* v = Get<std::string>(Find(name));
  return v ? std::string_view(*v) : fallback;
}

std::span<const int64_t> Attributes::Ints(std::string_view name) const {
  const auto* v = Get<std::vector<int64_t>>(Find(name));
  return v ? std::span<const int64_t>(*v) : std::span<const int64_t>();
}

std::span<const float> Attributes::Floats(std::string_view name) const {
  const auto* v = Get<std::vector<float>>(Find(name));
  return v ? std::span<const float>(*v) : std::span<const float>();
}

}  // namespace slipway::ops
