#pragma once
// The steps of RNN, GRU and LSTM in float32 (https://onnx.ai/onnx/operators/onnx__LSTM.html). The
// input's part of all gates is a product over many steps (kernels/gemm); a step adds the hidden
// state's part to it and computes the next state.
//
// The sums of a step lie unit by unit: a block of lanes() units has its vectors of all gates one
// after another, blocks follow each other. A block's gates and its new state are then the work of
// one thread, and the vectors that a product adds to are neighbours. Units beyond the last are
// padding whose weights are zero.

#include <cstdint>
#include <span>

#include "engine/kernels/simd/isa.h"

namespace slipway::kernels {

// Blocks of units whose sums a product has in registers at once, of `left` that are there: as many
// as make eight vectors at most, or one.
inline int64_t RecurrentGroup(int gates, int64_t left) {
  const int64_t most = 8 / gates;
  return left >= most ? most : 1;
}

// Weights [gate, hidden, k] as RecurrentProduct reads them, of these gates in this order: for each
// group of blocks, for each k, for each block its gates' vectors. `packed` has roundup(hidden,
// lanes) * gates
// * k elements.
void PackRecurrent(const float* w, int64_t hidden, int64_t k, std::span<const int> gates, int lanes,
                   float* packed);

// sums[row][block][first + gate] += x[row] * w[block][gate]; or, for the last gate of those in w
// when `apart` is there, apart[row][block] = apart_start[block] + x[row] * w.
struct RecurrentProduct {
  const float* x = nullptr;  // [rows, k], rows x_stride elements apart
  int64_t x_stride = 0;
  int64_t rows = 0, k = 0;
  const float* w = nullptr;  // by PackRecurrent
  int gates = 0;             // of w, 1 to 4
  int64_t blocks = 0;        // of all units
  float* sums = nullptr;     // rows sums_stride elements apart
  int64_t sums_stride = 0;
  int slots = 0;  // vectors of a block in sums
  int first = 0;  // that belong to w's gates from here on
  float* apart = nullptr;
  int64_t apart_stride = 0;
  const float* apart_start = nullptr;
};

enum class CellFunction : uint8_t { kSigmoid, kTanh, kRelu, kHardSigmoid };
struct CellActivation {
  CellFunction function = CellFunction::kSigmoid;
  float a = 0, b = 0;  // kHardSigmoid: a * x + b within [0, 1]
};

// Functions of cells take the sums of one row from a block on, and change them; states of the same
// units. `f` are the operator's activations.
struct RecurrentKernels {
  int lanes;
  // Blocks [begin, end), which begin where a group does. Each element is one chain of sums in the
  // order of k, wherever ranges are cut.
  void (*product)(const RecurrentProduct& p, int64_t begin, int64_t end);
  // Slots i, o, f, c. cell is replaced, next is the new hidden state.
  void (*lstm)(float* sums, float* cell, float* next, int64_t blocks, const CellActivation* f);
  // Slots z, r, h. With `apart`, the candidate is h + r * apart; else h has all of it.
  void (*gru)(float* sums, const float* apart, const float* hidden, float* next, int64_t blocks,
              const CellActivation* f);
  // reset = f(r) * hidden.
  void (*gru_reset)(float* sums, const float* hidden, float* reset, int64_t blocks,
                    const CellActivation* f);
  void (*rnn)(float* sums, float* next, int64_t blocks, const CellActivation* f);
};

const RecurrentKernels& GetRecurrent(Isa isa);

namespace baseline {
extern const RecurrentKernels kRecurrent;
}
namespace avx2 {
extern const RecurrentKernels kRecurrent;
}
namespace avx512 {
extern const RecurrentKernels kRecurrent;
}

}  // namespace slipway::kernels
