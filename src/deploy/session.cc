#include "deploy/session.h"

#include <cstring>

#include "base/aligned.h"
#include "model/ir/graph.h"

namespace slipway::deploy {

Status FromError(const slipway_error& error) {
  return {static_cast<StatusCode>(error.code), error.message};
}

Status Session::Create(const SessionOptions& options) {
  slipway_session_options o;
  slipway_session_options_init(&o);
  o.threads = options.threads;
  o.pin = options.pin;
  o.profile = options.profile;
  o.spin = options.spin;
  o.yield = options.yield;
  slipway_session* session = nullptr;
  slipway_error error{};
  if (slipway_session_create(package_.get(), &o, &session, &error) != 0) return FromError(error);
  session_.reset(session);
  return OkStatus();
}

Result<Session> Session::Load(const std::string& path, const SessionOptions& options) {
  Session s;
  slipway_package* package = nullptr;
  slipway_error error{};
  if (slipway_package_load(path.c_str(), &package, &error) != 0) return FromError(error);
  s.package_.reset(package, FreePackage());
  SLIPWAY_RETURN_IF_ERROR(s.Create(options));
  return s;
}

Result<Session> Session::FromBytes(std::span<const uint8_t> bytes, const SessionOptions& options) {
  auto copy = std::make_shared<AlignedBuffer>(bytes.size());
  if (copy->size() != bytes.size())
    return ResourceExhausted("no memory for a package of " + std::to_string(bytes.size()) +
                             " bytes");
  std::memcpy(copy->data(), bytes.data(), bytes.size());
  Session s;
  slipway_package* package = nullptr;
  slipway_error error{};
  if (slipway_package_load_memory(copy->data(), copy->size(), &package, &error) != 0)
    return FromError(error);
  s.package_ = std::shared_ptr<slipway_package>(
      package, [copy](slipway_package* p) { slipway_package_free(p); });
  s.bytes_ = copy;
  SLIPWAY_RETURN_IF_ERROR(s.Create(options));
  return s;
}

Result<Session> Session::Another(const SessionOptions& options) const {
  Session s;
  s.package_ = package_;
  s.bytes_ = bytes_;
  SLIPWAY_RETURN_IF_ERROR(s.Create(options));
  return s;
}

std::vector<slipway_tensor_info> Session::inputs() const {
  std::vector<slipway_tensor_info> out(slipway_package_num_inputs(package_.get()));
  for (size_t i = 0; i < out.size(); ++i)
    slipway_package_input(package_.get(), static_cast<uint32_t>(i), &out[i]);
  return out;
}

std::vector<slipway_tensor_info> Session::outputs() const {
  std::vector<slipway_tensor_info> out(slipway_package_num_outputs(package_.get()));
  for (size_t i = 0; i < out.size(); ++i)
    slipway_package_output(package_.get(), static_cast<uint32_t>(i), &out[i]);
  return out;
}

std::string Session::Provenance(const std::string& key) const {
  const char* value = slipway_package_provenance(package_.get(), key.c_str());
  return value ? value : "";
}

ir::Container Session::input_container(size_t index) const {
  return static_cast<ir::Container>(
      slipway_package_input_container(package_.get(), static_cast<uint32_t>(index)));
}
ir::Container Session::output_container(size_t index) const {
  return static_cast<ir::Container>(
      slipway_package_output_container(package_.get(), static_cast<uint32_t>(index)));
}

// Tensor by tensor, whatever was there before.
Status Session::SetContainer(const slipway_tensor_info& info, ir::Container container,
                             const ir::Tensor& value) {
  if (value.container() != container || value.dtype() != static_cast<DType>(info.dtype))
    return InvalidArgument("input '" + std::string(info.name) + "' takes a " +
                           ir::Type{static_cast<DType>(info.dtype), {}, container}.ToString() +
                           " but " + value.Describe() + " is given");
  std::span<const ir::Tensor> items = value.items();
  const bool is_optional =
      container == ir::Container::kOptional || container == ir::Container::kOptionalSequence;
  int64_t length = is_optional && items.empty() ? -1 : static_cast<int64_t>(items.size());
  if (container == ir::Container::kOptionalSequence && length >= 0) {
    items = items[0].items();
    length = static_cast<int64_t>(items.size());
  }
  slipway_error error{};
  if (slipway_session_set_length(session_.get(), info.name, length, &error) != 0)
    return FromError(error);
  for (size_t i = 0; i < items.size(); ++i) {
    slipway_tensor t;
    if (slipway_session_set_item(session_.get(), info.name, static_cast<int64_t>(i),
                                 items[i].dims().begin(), items[i].dims().rank(), &t, &error) != 0)
      return FromError(error);
    if (t.bytes > 0) std::memcpy(t.data, items[i].bytes().data(), t.bytes);
  }
  return OkStatus();
}

namespace {

Result<ir::Tensor> CopyOf(const slipway_tensor& t) {
  SLIPWAY_ASSIGN_OR_RETURN(
      ir::Tensor out, ir::Tensor::Allocate(static_cast<DType>(t.dtype),
                                           Dims(std::span(t.dims, static_cast<size_t>(t.rank)))));
  if (t.bytes > 0) std::memcpy(out.mutable_data(), t.data, t.bytes);
  return out;
}

}  // namespace

Result<ir::Tensor> Session::GetContainer(const slipway_tensor_info& info,
                                         ir::Container container) const {
  const auto dtype = static_cast<DType>(info.dtype);
  slipway_error error{};
  int64_t length = 0;
  if (slipway_session_length(session_.get(), info.name, &length, &error) != 0)
    return FromError(error);
  if (length < 0) return ir::Tensor::NoOptional(dtype, container);
  std::vector<ir::Tensor> items;
  for (int64_t i = 0; i < length; ++i) {
    slipway_tensor t;
    if (slipway_session_item(session_.get(), info.name, i, &t, &error) != 0)
      return FromError(error);
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor item, CopyOf(t));
    items.push_back(std::move(item));
  }
  if (container == ir::Container::kOptional) return ir::Tensor::Optional(std::move(items.at(0)));
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor sequence, ir::Tensor::Sequence(dtype, std::move(items)));
  return container == ir::Container::kSequence ? sequence
                                               : ir::Tensor::Optional(std::move(sequence));
}

Status Session::SetInputs(const std::vector<ir::Tensor>& tensors) {
  auto infos = inputs();
  if (tensors.size() != infos.size()) {
    return InvalidArgument("the model has " + std::to_string(infos.size()) + " inputs but " +
                           std::to_string(tensors.size()) + " are given");
  }
  slipway_error error{};
  for (size_t i = 0; i < infos.size(); ++i) {
    if (const auto container = input_container(i); container != ir::Container::kTensor) {
      SLIPWAY_RETURN_IF_ERROR(SetContainer(infos[i], container, tensors[i]));
      continue;
    }
    if (tensors[i].is_container())
      return InvalidArgument("input '" + std::string(infos[i].name) + "' takes a tensor but " +
                             tensors[i].Describe() + " is given");
    Dims& known = shapes_[infos[i].name];
    bool is_dynamic = false;
    for (int d = 0; d < infos[i].rank; ++d) is_dynamic |= infos[i].dims[d] < 0;
    if (tensors[i].dims() == known && (known.rank() > 0 || !is_dynamic)) continue;
    if (slipway_session_set_shape(session_.get(), infos[i].name, tensors[i].dims().begin(),
                                  tensors[i].dims().rank(), &error) != 0) {
      return FromError(error);
    }
    known = tensors[i].dims();
  }
  for (size_t i = 0; i < infos.size(); ++i) {
    if (input_container(i) != ir::Container::kTensor) continue;
    slipway_tensor t;
    if (slipway_session_input(session_.get(), infos[i].name, &t, &error) != 0)
      return FromError(error);
    if (t.dtype != static_cast<uint32_t>(tensors[i].dtype()) ||
        t.bytes != tensors[i].bytes().size()) {
      return InvalidArgument("input '" + std::string(infos[i].name) + "' takes " +
                             DTypeName(static_cast<DType>(t.dtype)) + " but " +
                             DTypeName(tensors[i].dtype()) + tensors[i].dims().ToString() +
                             " is given");
    }
    if (t.bytes > 0) std::memcpy(t.data, tensors[i].bytes().data(), t.bytes);
  }
  return OkStatus();
}

Status Session::RunOnly() {
  slipway_error error{};
  if (slipway_session_run(session_.get(), &error) != 0) return FromError(error);
  return OkStatus();
}

Result<std::vector<ir::Tensor>> Session::Run(const std::vector<ir::Tensor>& tensors) {
  SLIPWAY_RETURN_IF_ERROR(SetInputs(tensors));
  SLIPWAY_RETURN_IF_ERROR(RunOnly());
  std::vector<ir::Tensor> results;
  for (size_t i = 0; i < slipway_package_num_outputs(package_.get()); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, Output(i));
    results.push_back(std::move(out));
  }
  return results;
}

Result<ir::Tensor> Session::Output(size_t index) const {
  slipway_tensor_info info;
  slipway_package_output(package_.get(), static_cast<uint32_t>(index), &info);
  if (const auto container = output_container(index); container != ir::Container::kTensor)
    return GetContainer(info, container);
  slipway_tensor t;
  slipway_error error{};
  if (slipway_session_output(session_.get(), info.name, &t, &error) != 0) return FromError(error);
  return CopyOf(t);
}

Result<ir::Tensor> Session::View(size_t index) const {
  slipway_tensor_info info;
  slipway_package_output(package_.get(), static_cast<uint32_t>(index), &info);
  if (const auto container = output_container(index); container != ir::Container::kTensor)
    return GetContainer(info, container);
  slipway_tensor t;
  slipway_error error{};
  if (slipway_session_output(session_.get(), info.name, &t, &error) != 0) return FromError(error);
  return ir::Tensor::Wrap(static_cast<DType>(t.dtype),
                          Dims(std::span(t.dims, static_cast<size_t>(t.rank))),
                          {static_cast<const uint8_t*>(t.data), t.bytes}, nullptr);
}

std::vector<slipway_step_profile> Session::Profile() const {
  std::vector<slipway_step_profile> out(slipway_session_num_steps(session_.get()));
  for (size_t i = 0; i < out.size(); ++i)
    slipway_session_profile(session_.get(), static_cast<uint32_t>(i), &out[i]);
  return out;
}

slipway_step_cost Session::StepCost(size_t index) const {
  slipway_step_cost cost{};
  cost.struct_size = sizeof cost;
  slipway_session_step_cost(session_.get(), static_cast<uint32_t>(index), &cost);
  return cost;
}

void Session::ResetProfile() { slipway_session_reset_profile(session_.get()); }

}  // namespace slipway::deploy
