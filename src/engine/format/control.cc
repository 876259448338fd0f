#include "engine/format/control.h"

#include <algorithm>

#include "engine/format/plan.h"
#include "engine/format/sequence.h"
#include "engine/format/validate.h"

namespace slipway::format {
namespace {

bool OneElement(const PackageTensor& t) {
  if (t.is_container()) return false;
  for (const Dim& d : t.shape) {
    if (d.known() && !d.Is(1)) return false;
  }
  return true;
}

class ControlCheck {
 public:
  ControlCheck(const PackageData& p, const Liveness& live, size_t s)
      : p_(p),
        live_(live),
        s_(s),
        step_(p.steps[s]),
        control_(*p.steps[s].control),
        form_(FormOf(p.steps[s])) {}

  Status Run() {
    if (!step_.blob.empty()) return Wrong(".blob: a control step has none");
    if (step_.workspace != 0) return Wrong(".workspace: a control step has none");
    const size_t bodies = control_.kind == ControlKind::kIf ? 2 : 1;
    if (control_.bodies.size() != bodies)
      return Count(".control.bodies", control_.bodies.size(), bodies);
    if (control_.kind == ControlKind::kIf && (control_.carried != 0 || control_.scanned != 0))
      return Wrong(".control: If carries and scans nothing");
    if (control_.kind == ControlKind::kLoop && control_.scanned != 0)
      return Wrong(".control.scanned: Loop scans nothing");
    if (control_.kind == ControlKind::kScan && control_.scanned == 0)
      return Wrong(".control.scanned: Scan scans one input at least");
    if (step_.inputs.size() < form_.formal) {
      return Wrong(".inputs: " + std::to_string(step_.inputs.size()) + ", needs at least " +
                   std::to_string(form_.formal));
    }
    if (step_.outputs.size() < form_.carried) {
      return Wrong(".outputs: " + std::to_string(step_.outputs.size()) + ", needs at least " +
                   std::to_string(form_.carried));
    }
    SLIPWAY_RETURN_IF_ERROR(CheckLists());
    SLIPWAY_RETURN_IF_ERROR(CheckMemory());
    SLIPWAY_RETURN_IF_ERROR(CheckFormal());
    for (const int body : control_.bodies)
      SLIPWAY_RETURN_IF_ERROR(CheckBody(static_cast<size_t>(body)));
    return OkStatus();
  }

 private:
  Status Wrong(const std::string& what) const { return DataLoss(DescribeStep(p_, s_) + what); }
  Status Count(const std::string& what, size_t has, size_t needs) const {
    return Wrong(what + ": " + std::to_string(has) + ", needs " + std::to_string(needs));
  }
  const PackageTensor* Tensor(const std::vector<int>& list, size_t i) const {
    return list[i] < 0 ? nullptr : &p_.tensors[static_cast<size_t>(list[i])];
  }

  Status CheckLists() const {
    const size_t scans = control_.kind == ControlKind::kScan ? form_.scanned : 0,
                 stacks = control_.kind == ControlKind::kScan ? form_.stacked : 0;
    const struct {
      const char* name;
      size_t has, needs;
    } lists[] = {{".control.input_axes", control_.input_axes.size(), scans},
                 {".control.input_backward", control_.input_backward.size(), scans},
                 {".control.output_axes", control_.output_axes.size(), stacks},
                 {".control.output_backward", control_.output_backward.size(), stacks}};
    for (const auto& list : lists) {
      if (list.has != list.needs) return Count(list.name, list.has, list.needs);
    }
    return OkStatus();
  }

  // The bodies read the inputs while results are written.
  Status CheckMemory() const {
    for (size_t k = 0; k < step_.outputs.size(); ++k) {
      if (step_.outputs[k] < 0) continue;
      const std::string where = ".outputs[" + std::to_string(k) + "]";
      if (Tensor(step_.outputs, k)->layout != Layout::kPlain)
        return Wrong(where + ".layout: must be plain");
      for (const int in : step_.inputs) {
        if (in >= 0 && live_.owner[static_cast<size_t>(in)] ==
                           live_.owner[static_cast<size_t>(step_.outputs[k])]) {
          return Wrong(where + ": shares memory with an input of the step");
        }
      }
    }
    for (size_t k = 0; k < step_.inputs.size(); ++k) {
      if (step_.inputs[k] >= 0 && Tensor(step_.inputs, k)->layout != Layout::kPlain) {
        return Wrong(".inputs[" + std::to_string(k) + "].layout: must be plain");
      }
    }
    return OkStatus();
  }

  Status CheckFormal() const {
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      const std::string where = ".inputs[" + std::to_string(i) + "]";
      const PackageTensor* t = Tensor(step_.inputs, i);
      const bool optional = control_.kind == ControlKind::kLoop && i < 2;
      if (!t) {
        if (optional) continue;
        return Wrong(where + ": absent");
      }
      if (!optional && i >= form_.unseen) continue;
      const DType wanted =
          control_.kind == ControlKind::kLoop && i == 0 ? DType::kInt64 : DType::kBool;
      if (t->dtype != wanted || !OneElement(*t))
        return Wrong(where + ": must be one " + DTypeName(wanted));
    }
    return OkStatus();
  }

  // A sequence is an optional sequence too, which the session then finds to be there.
  static bool Meet(Container a, Container b) {
    const auto sequence = [](Container c) {
      return c == Container::kSequence || c == Container::kOptionalSequence;
    };
    return a == b || (sequence(a) && sequence(b));
  }

  // `rank`: how much larger the rank of `outer` is.
  Status Same(const std::string& where, const PackageTensor& outer, const PackageTensor& inner,
              size_t rank) const {
    if (outer.dtype != inner.dtype) {
      return Wrong(where + ": is " + DTypeName(outer.dtype) + " here and " +
                   DTypeName(inner.dtype) + " in the body");
    }
    if (!Meet(outer.container, inner.container) || (rank > 0 && outer.is_container()))
      return Wrong(where + ": is " + WithArticle(outer.container) + " here and " +
                   WithArticle(inner.container) + " in the body");
    if (outer.shape.size() != inner.shape.size() + rank) {
      return Wrong(where + ": has " + std::to_string(outer.shape.size()) + " dimensions here and " +
                   std::to_string(inner.shape.size()) + " in the body");
    }
    return OkStatus();
  }

  Status CheckBody(size_t index) const {
    const PackageData& body = p_.programs[index];
    const std::string where = " (programs[" + std::to_string(index) + "])";
    const size_t inputs = step_.inputs.size() - form_.unseen,
                 outputs = step_.outputs.size() + form_.first_result;
    if (body.inputs.size() != inputs) return Count(where + ".inputs", body.inputs.size(), inputs);
    if (body.outputs.size() != outputs)
      return Count(where + ".outputs", body.outputs.size(), outputs);
    auto in = [&](size_t i) -> const PackageTensor& {
      return body.tensors[static_cast<size_t>(body.inputs[i])];
    };
    auto out = [&](size_t i) -> const PackageTensor& {
      return body.tensors[static_cast<size_t>(body.outputs[i])];
    };
    for (size_t i = 0; i < inputs; ++i) {
      const std::string here = where + ".inputs[" + std::to_string(i) + "]";
      if (control_.kind == ControlKind::kLoop && i < 2) {
        const DType wanted = i == 0 ? DType::kInt64 : DType::kBool;
        if (in(i).dtype != wanted || !in(i).shape.empty() || in(i).is_container())
          return Wrong(here + ": must be a scalar of type " + DTypeName(wanted));
        continue;
      }
      const bool slice = i >= form_.carried && i < form_.carried + form_.scanned;
      const PackageTensor& outer = *Tensor(step_.inputs, i + form_.unseen);
      SLIPWAY_RETURN_IF_ERROR(Same(here, outer, in(i), slice ? 1 : 0));
      if (slice)
        SLIPWAY_RETURN_IF_ERROR(CheckAxis(here, control_.input_axes[i - form_.carried], outer));
    }
    if (control_.kind == ControlKind::kLoop &&
        (out(0).dtype != DType::kBool || !OneElement(out(0)))) {
      return Wrong(where + ".outputs[0]: must be one bool");
    }
    for (size_t k = 0; k < step_.outputs.size(); ++k) {
      const std::string here = where + ".outputs[" + std::to_string(k + form_.first_result) + "]";
      const bool stacked = control_.kind != ControlKind::kIf && k >= form_.carried;
      const PackageTensor& inner = out(k + form_.first_result);
      if (k < form_.carried)
        SLIPWAY_RETURN_IF_ERROR(
            Same(here, *Tensor(step_.inputs, form_.first_carried + k), inner, 0));
      const PackageTensor* outer = Tensor(step_.outputs, k);
      if (!outer) continue;
      SLIPWAY_RETURN_IF_ERROR(Same(here, *outer, inner, stacked ? 1 : 0));
      if (stacked) {
        const int axis =
            control_.kind == ControlKind::kScan ? control_.output_axes[k - form_.carried] : 0;
        SLIPWAY_RETURN_IF_ERROR(CheckAxis(here, axis, *outer));
      }
    }
    return OkStatus();
  }

  Status CheckAxis(const std::string& where, int axis, const PackageTensor& t) const {
    if (axis < 0 || static_cast<size_t>(axis) >= t.shape.size()) {
      return Wrong(where + ": axis " + std::to_string(axis) + " of " +
                   std::to_string(t.shape.size()) + " dimensions");
    }
    if (DTypeBits(t.dtype) < 8) return Wrong(where + ": " + DTypeName(t.dtype) + " has no slices");
    return OkStatus();
  }

  const PackageData& p_;
  const Liveness& live_;
  const size_t s_;
  const PackageStep& step_;
  const PackageControl& control_;
  const ControlForm form_;
};

}  // namespace

const char* ControlName(ControlKind kind) {
  return kind == ControlKind::kIf ? "If" : kind == ControlKind::kLoop ? "Loop" : "Scan";
}

ControlForm FormOf(const PackageStep& step) {
  const PackageControl& c = *step.control;
  ControlForm f;
  f.carried = c.carried;
  f.scanned = c.scanned;
  if (c.kind == ControlKind::kIf) {
    f.formal = f.unseen = 1;
    return f;
  }
  f.stacked = step.outputs.size() - std::min(step.outputs.size(), f.carried);
  if (c.kind == ControlKind::kLoop) {
    f.formal = 2 + f.carried;
    f.first_carried = 2;
    f.first_result = 1;
  } else {
    f.formal = f.carried + f.scanned;
  }
  return f;
}

size_t CountSteps(const PackageData& package) {
  size_t count = package.steps.size();
  for (const PackageData& body : package.programs) count += CountSteps(body);
  return count;
}

Status CheckControls(const PackageData& package) {
  std::vector<bool> used(package.programs.size());
  // Without bodies no step gets as far as to ask.
  const Liveness live = package.programs.empty() ? Liveness() : ComputeLiveness(package);
  for (size_t s = 0; s < package.steps.size(); ++s) {
    if (!package.steps[s].control) continue;
    SLIPWAY_RETURN_IF_ERROR(ControlCheck(package, live, s).Run());
    for (const int body : package.steps[s].control->bodies) {
      if (used[static_cast<size_t>(body)]) {
        return DataLoss(DescribeStep(package, s) + ".control.bodies: programs[" +
                        std::to_string(body) + "] has a step already");
      }
      used[static_cast<size_t>(body)] = true;
    }
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) return DataLoss("programs[" + std::to_string(i) + "]: is the body of no step");
  }
  return OkStatus();
}

}  // namespace slipway::format
