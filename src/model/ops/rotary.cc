// RotaryEmbedding (opset 23; Su et al., arXiv:2104.09864): pairs of elements of each head turned by
// the angle of their position.

#include "model/ops/dispatch.h"

namespace slipway::ops {

Status OnnxRotaryEmbedding(const OpContext& c) {
  const TensorView &x = c.inputs[0], &cosines = c.inputs[1], &sines = c.inputs[2];
  if (x.count() == 0) return OkStatus();
  const bool flat = x.dims.rank() == 3;
  if (!flat && x.dims.rank() != 4)
    return InvalidArgument("expects X of rank 3 or 4, got " + x.dims.ToString());
  const int64_t heads = flat ? c.attributes->Int("num_heads", 0) : x.dims[1];
  const int64_t batches = x.dims[0], length = x.dims[flat ? 1 : 2];
  if (heads < 1 || (flat && x.dims[2] % heads != 0))
    return InvalidArgument("num_heads " + std::to_string(heads) + " does not divide " +
                           std::to_string(x.dims[2]) + " features");
  const int64_t size = flat ? x.dims[2] / heads : x.dims[3];
  int64_t turned = c.attributes->Int("rotary_embedding_dim", 0);
  if (turned == 0) turned = size;
  if (turned < 0 || turned > size || turned % 2 != 0)
    return InvalidArgument("rotary_embedding_dim " + std::to_string(turned) +
                           " must be even and at most " + std::to_string(size));
  const int64_t half = turned / 2;
  const bool interleaved = c.attributes->Int("interleaved", 0) != 0;
  if (cosines.dtype != x.dtype || sines.dtype != x.dtype)
    return Unsupported("cos_cache and sin_cache must have X's element type");
  // With position ids the caches are [positions, half], without [batch, length, half].
  const bool by_id = c.Has(3);
  const int64_t rows = half == 0 ? 0 : cosines.count() / half;
  if (cosines.dims.rank() < 1 || cosines.dims.back() != half || sines.count() != cosines.count() ||
      (!by_id && rows != batches * length)) {
    return InvalidArgument("cos_cache " + cosines.dims.ToString() + " and sin_cache " +
                           sines.dims.ToString() + " do not fit X " + x.dims.ToString());
  }
  if (by_id) {
    SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[3], "position_ids"));
    if (c.inputs[3].count() != batches * length)
      return InvalidArgument("position_ids must be [batch, length]");
    for (int64_t i = 0; i < batches * length; ++i) {
      const int64_t p = IndexAt(c.inputs[3], i);
      if (p < 0 || p >= rows) {
        return InvalidArgument("position " + std::to_string(p) + " is outside the cache of " +
                               std::to_string(rows));
      }
    }
  }
  auto run = [&]<typename T>() {
    using C = Compute<T>;
    For(c, batches * length * heads, std::max<int64_t>(1, 8192 / size),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            // i counts heads fastest.
            const int64_t h = i % heads, s = i / heads % length, b = i / heads / length;
            const int64_t at = flat ? i * size : ((b * heads + h) * length + s) * size;
            const int64_t row = by_id ? IndexAt(c.inputs[3], b * length + s) : b * length + s;
            const T *from = x.as<const T>() + at, *cs = cosines.as<const T>() + row * half,
                    *sn = sines.as<const T>() + row * half;
            T* to = c.outputs[0].as<T>() + at;
            for (int64_t k = 0; k < half; ++k) {
              const int64_t first = interleaved ? 2 * k : k,
                            second = interleaved ? first + 1 : k + half;
              const C u = static_cast<C>(from[first]), v = static_cast<C>(from[second]);
              const C cosine = static_cast<C>(cs[k]), sine = static_cast<C>(sn[k]);
              to[first] = static_cast<T>(cosine * u - sine * v);
              to[second] = static_cast<T>(sine * u + cosine * v);
            }
            for (int64_t k = turned; k < size; ++k) to[k] = from[k];
          }
        });
  };
  if (!DispatchFloat(x.dtype, run)) return NoKernel(x.dtype);
  return OkStatus();
}

}  // namespace slipway::ops
