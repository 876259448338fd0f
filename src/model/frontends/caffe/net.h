#pragma once
// A Caffe network definition as its layers of the newest form (`layer`, type by name), whatever
// form the file has: V0 (`layers { layer { type: "conv" } }`), V1 (`layers { type: CONVOLUTION }`)
// or V2. caffe.proto of BVLC Caffe and of the SSD fork define the fields.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "model/frontends/caffe/text_format.h"

namespace slipway::caffe {

struct LayerSpec {
  std::string name, type;
  std::vector<std::string> bottoms, tops;
  Message params;  // everything else of the layer, parameter messages included
  int line = 0;

  std::string Describe() const { return type + " layer '" + name + "'"; }
};

struct NetSpec {
  std::string name;
  // Declared inputs (`input`, with `input_dim` or `input_shape`); layers of type Input stay layers.
  std::vector<std::pair<std::string, std::vector<int64_t>>> inputs;
  std::vector<LayerSpec> layers;  // those of the phase TEST, in the file's order
};

// The layers that take part at TEST time (`include`, `exclude`, `phase`; `level` 0 and the given
// stages). Errors, with the line: InvalidArgument (syntax, a missing name or type, a wrong number
// of input_dim), Unsupported (a V1 type that this build does not know), ResourceExhausted (limits).
Result<NetSpec> ParseNet(std::string_view text, const std::vector<std::string>& stages = {},
                         const TextLimits& limits = {});

// The V2 name of a V1 layer type by number or enumerator, and of a V0 type; empty when unknown.
std::string_view TypeFromV1(std::string_view enumerator);
std::string_view TypeFromV1(int64_t number);
std::string_view TypeFromV0(std::string_view type);

}  // namespace slipway::caffe
