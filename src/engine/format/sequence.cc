#include "engine/format/sequence.h"

#include "engine/format/validate.h"

namespace slipway::format {
namespace {

// What an input or output of an operator must be.
enum class Is : uint8_t {
  kTensor,
  kSequence,
  kOptional,  // of a tensor or a sequence
  kAny,
};

struct Form {
  const char* name;
  size_t inputs, most_inputs;  // how many at least and at most
  Is input, more;              // the first and those behind it
  Is output;
};
constexpr size_t kAnyNumber = SIZE_MAX;
constexpr Form kForms[kSequenceOpCount] = {
    {"SequenceConstruct", 0, kAnyNumber, Is::kTensor, Is::kTensor, Is::kSequence},
    {"SequenceInsert", 2, 3, Is::kSequence, Is::kTensor, Is::kSequence},
    {"SequenceErase", 1, 2, Is::kSequence, Is::kTensor, Is::kSequence},
    {"SequenceAt", 2, 2, Is::kSequence, Is::kTensor, Is::kTensor},
    {"SequenceLength", 1, 1, Is::kSequence, Is::kTensor, Is::kTensor},
    {"SplitToSequence", 1, 2, Is::kTensor, Is::kTensor, Is::kSequence},
    {"ConcatFromSequence", 1, 1, Is::kSequence, Is::kTensor, Is::kTensor},
    {"Optional", 0, 1, Is::kAny, Is::kTensor, Is::kOptional},
    {"OptionalHasElement", 0, 1, Is::kAny, Is::kTensor, Is::kTensor},
    {"OptionalGetElement", 1, 1, Is::kAny, Is::kTensor, Is::kAny},
    {"Identity", 1, 1, Is::kAny, Is::kTensor, Is::kAny},
};

bool Holds(Container c, Is is) {
  switch (is) {
    case Is::kTensor:
      return c == Container::kTensor;
    case Is::kSequence:
      return c == Container::kSequence;
    case Is::kOptional:
      return c == Container::kOptional || c == Container::kOptionalSequence;
    case Is::kAny:
      return true;
  }
  return false;
}

// What an optional holds; another container is what it is.
Container ElementOf(Container c) {
  return c == Container::kOptional           ? Container::kTensor
         : c == Container::kOptionalSequence ? Container::kSequence
                                             : c;
}

class SequenceCheck {
 public:
  SequenceCheck(const PackageData& p, size_t s)
      : p_(p), s_(s), step_(p.steps[s]), op_(step_.sequence->op) {}

  Status Run() const {
    const Form& form = kForms[static_cast<size_t>(op_)];
    if (!step_.blob.empty()) return Wrong(".blob: a sequence step has none");
    if (step_.workspace != 0) return Wrong(".workspace: a sequence step has none");
    if (step_.inputs.size() < form.inputs || step_.inputs.size() > form.most_inputs)
      return Wrong(".inputs: " + std::to_string(step_.inputs.size()) + " are not what " +
                   form.name + " takes");
    if (step_.outputs.size() != 1 || step_.outputs[0] < 0)
      return Wrong(std::string(".outputs: ") + form.name + " has one");
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      const PackageTensor* t = Input(i);
      const std::string where = ".inputs[" + std::to_string(i) + "]";
      // A position or sizes that are not given, and what is asked whether it is there.
      const bool optional = op_ == SequenceOp::kHasElement || op_ == SequenceOp::kOptional ||
                            (i > 0 && i + 1 == form.most_inputs && i >= form.inputs);
      if (!t) {
        if (optional) continue;
        return Wrong(where + ": absent");
      }
      const Is is = i == 0 ? form.input : form.more;
      if (!Holds(t->container, is))
        return Wrong(where + ": is " + WithArticle(t->container) + ", which " + form.name +
                     " does not take here");
      if (t->layout != Layout::kPlain) return Wrong(where + ".layout: must be plain");
    }
    const PackageTensor& y = Output();
    if (!Holds(y.container, form.output))
      return Wrong(".outputs[0]: is " + WithArticle(y.container) + ", which " +
                   form.name + " does not give");
    if (y.layout != Layout::kPlain) return Wrong(".outputs[0].layout: must be plain");
    return Types();
  }

 private:
  Status Wrong(const std::string& what) const { return DataLoss(DescribeStep(p_, s_) + what); }
  const PackageTensor* Input(size_t i) const {
    return i >= step_.inputs.size() || step_.inputs[i] < 0
               ? nullptr
               : &p_.tensors[static_cast<size_t>(step_.inputs[i])];
  }
  const PackageTensor& Output() const { return p_.tensors[static_cast<size_t>(step_.outputs[0])]; }
  Status Same(DType a, DType b) const {
    if (a == b) return OkStatus();
    return Wrong(std::string(": ") + DTypeName(a) + " and " + DTypeName(b) +
                 " are not one element type");
  }
  Status Scalar(DType type) const {
    if (Output().dtype == type && Output().shape.empty()) return OkStatus();
    return Wrong(std::string(".outputs[0]: must be a scalar of type ") + DTypeName(type));
  }
  Status Integer(size_t i) const {
    const PackageTensor* t = Input(i);
    if (!t || t->dtype == DType::kInt64 || t->dtype == DType::kInt32) return OkStatus();
    return Wrong(".inputs[" + std::to_string(i) + "]: is " + DTypeName(t->dtype) +
                 ", must be int64 or int32");
  }

  Status Types() const {
    const PackageTensor& y = Output();
    switch (op_) {
      case SequenceOp::kConstruct:
        for (size_t i = 0; i < step_.inputs.size(); ++i)
          SLIPWAY_RETURN_IF_ERROR(Same(Input(i)->dtype, y.dtype));
        return OkStatus();
      case SequenceOp::kInsert:
        SLIPWAY_RETURN_IF_ERROR(Integer(2));
        SLIPWAY_RETURN_IF_ERROR(Same(Input(1)->dtype, y.dtype));
        return Same(Input(0)->dtype, y.dtype);
      case SequenceOp::kErase:
      case SequenceOp::kAt:
        SLIPWAY_RETURN_IF_ERROR(Integer(1));
        return Same(Input(0)->dtype, y.dtype);
      case SequenceOp::kLength:
        return Scalar(DType::kInt64);
      case SequenceOp::kSplit:
        SLIPWAY_RETURN_IF_ERROR(Integer(1));
        if (Input(0)->shape.empty()) return Wrong(".inputs[0]: a scalar has no pieces");
        [[fallthrough]];
      case SequenceOp::kConcat:
        if (DTypeBits(y.dtype) < 8)
          return Wrong(std::string(".outputs[0]: ") + DTypeName(y.dtype) + " has no pieces");
        return Same(Input(0)->dtype, y.dtype);
      case SequenceOp::kHasElement:
        return Scalar(DType::kBool);
      case SequenceOp::kOptional:
        if (!Input(0)) return OkStatus();
        if (Input(0)->container != ElementOf(y.container))
          return Wrong(".outputs[0]: " + WithArticle(y.container) + " does not hold " +
                       WithArticle(Input(0)->container));
        return Same(Input(0)->dtype, y.dtype);
      case SequenceOp::kGetElement:
        if (y.container != ElementOf(Input(0)->container))
          return Wrong(".outputs[0]: " + WithArticle(y.container) +
                       " is not what its input holds");
        return Same(Input(0)->dtype, y.dtype);
      case SequenceOp::kIdentity:
        if (y.container != Input(0)->container || !y.is_container())
          return Wrong(".outputs[0]: must be the container that its input is");
        return Same(Input(0)->dtype, y.dtype);
    }
    return OkStatus();
  }

  const PackageData& p_;
  const size_t s_;
  const PackageStep& step_;
  const SequenceOp op_;
};

}  // namespace

const char* ContainerName(Container container) {
  switch (container) {
    case Container::kTensor:
      return "tensor";
    case Container::kSequence:
      return "sequence";
    case Container::kOptional:
      return "optional";
    case Container::kOptionalSequence:
      return "optional sequence";
  }
  return "unknown";
}

std::string WithArticle(Container container) {
  const bool vowel = container == Container::kOptional || container == Container::kOptionalSequence;
  return (vowel ? "an " : "a ") + std::string(ContainerName(container));
}

const char* SequenceOpName(SequenceOp op) { return kForms[static_cast<size_t>(op)].name; }

Status CheckSequences(const PackageData& package) {
  bool any = false;
  for (size_t i = 0; i < package.tensors.size(); ++i) {
    const PackageTensor& t = package.tensors[i];
    const bool aliased =
        t.alias >= 0 && package.tensors[static_cast<size_t>(t.alias)].is_container();
    if (!t.is_container() && !aliased) continue;
    any = true;
    const auto wrong = [&](const char* what) {
      return DataLoss(DescribeTensor(package, i) + what);
    };
    if (aliased || t.alias >= 0) return wrong(".alias: what holds tensors shares no memory");
    if (t.kind == TensorKind::kConstant) return wrong(".kind: a constant is a tensor");
    if (!t.shape.empty()) return wrong(".dims: what holds tensors has no extent");
    if (t.layout != Layout::kPlain) return wrong(".layout: must be plain");
  }
  for (size_t s = 0; s < package.steps.size(); ++s) {
    const PackageStep& step = package.steps[s];
    if (step.sequence) {
      SLIPWAY_RETURN_IF_ERROR(SequenceCheck(package, s).Run());
      continue;
    }
    if (!any || step.control) continue;
    for (const auto* list : {&step.inputs, &step.outputs}) {
      for (const int t : *list) {
        if (t >= 0 && package.tensors[static_cast<size_t>(t)].is_container()) {
          return DataLoss(DescribeStep(package, s) + ": takes or gives " +
                          DescribeTensor(package, static_cast<size_t>(t)) +
                          ", but a backend's step has tensors only");
        }
      }
    }
  }
  return OkStatus();
}

}  // namespace slipway::format
