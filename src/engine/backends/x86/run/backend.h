#pragma once
// The run side of the "x86" backend (code level): elementwise work, reductions, normalisation, data
// movement and the integer operators around convolutions, with kernels for AVX-512, AVX2 and
// baseline x86-64 chosen when a package is loaded. Nothing allocates in run.

#include <memory>

#include "base/status.h"
#include "engine/kernels/simd/isa.h"
#include "slipway/backend.h"

namespace slipway::backends {

const slipway_backend* X86Backend();

namespace x86 {
// The same functions under another name: sources of this folder are compiled for other processors
// too.
slipway_backend NativeBackend(const char* name);

// How the kernels of convolutions that the run side knows end.
inline constexpr char kWinograd4x4[] = "-winograd4x4";
inline constexpr char kWinograd2x2[] = "-winograd2x2";
inline constexpr char kDirect[] = "-direct";
inline constexpr char kDepthwise[] = "-depthwise";
// Of products: with packed weights; those without are for a few rows.
inline constexpr char kGemm[] = ":gemm";

struct ProbeResult {
  bool view = false;  // output 0 is input 0's bytes
};
// Whether prepare would accept this step; the step is as for prepare. `float16`: as 64-bit ARM, for a
// platform that computes in it.
Result<ProbeResult> Probe(const slipway_step& step, bool float16 = false);
// The weights of this step (constants carry data) as its kernel reads them on a CPU with `isa`; null
// when it reads them as they are.
struct PackedWeights;
Result<std::shared_ptr<const PackedWeights>> Pack(const slipway_step& step, kernels::Isa isa);
}  // namespace x86

}  // namespace slipway::backends
