// Loops of qdepthwise_impl.h in an order of their own, for cores that do not reorder: part of its
// namespace.

// The same in instructions that stay where they stand, for cores that do not reorder: half 1 of a
// product is the second of its instructions, if it has two.
template <int kHalf>
inline void DotInOrder(I& acc, I x, I w) {
#if defined(__ARM_FEATURE_DOTPROD)
  if (kHalf == 0) asm volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(x), "w"(w));
#else
  if (kHalf == 0)
    asm volatile("smlal %0.4s, %1.4h, %2.4h" : "+w"(acc) : "w"(x), "w"(w));
  else
    asm volatile("smlal2 %0.4s, %1.8h, %2.8h" : "+w"(acc) : "w"(x), "w"(w));
#endif
}
// The address as a sum of two registers: the A55 issues such loads together with products, and none
// whose offset is a number.
inline I LoadInOrder(const uint8_t* p, int64_t offset) {
  I v;
  asm volatile("ldr %q0, [%1, %2]"
               : "=w"(v)
               : "r"(p), "r"(offset), "m"(*reinterpret_cast<const uint8_t(*)[16]>(p + offset)));
  return v;
}

// All outputs are summed by one tap, then by the next: what is summed waits for kOutputs others.
// The columns, and behind them in number the weights, in the order in which these products need
// them; three products pass between a load and its use, and one load stands behind each.
template <int kWindow, int kStride>
struct LoadOrder {
  static constexpr int kColumns = (kOutputs - 1) * kStride + kWindow, kCount = kColumns + kWindow;
  struct Items {
    int item[kCount] = {}, before = 0;
    constexpr int operator[](int i) const { return item[i]; }
  };
  static constexpr Items Make() {
    int need[kCount] = {};
    for (int c = 0; c < kCount; ++c) {
      need[c] = c < kColumns ? kWindow * kOutputs : (c - kColumns) * kOutputs;
      for (int t = kWindow * kOutputs - 1; t >= 0 && c < kColumns; --t) {
        if (t % kOutputs * kStride + t / kOutputs == c) need[c] = t;
      }
    }
    Items items;
    int at = 0;
    for (int t = 0; t <= kWindow * kOutputs; ++t) {
      for (int c = kCount - 1; c >= 0; --c) {  // weights first
        if (need[c] == t) items.item[at++] = c;
      }
    }
    // So many before the first product that each of the others has three before its own.
    for (int i = 0; i < kCount; ++i) {
      const int early = i - (need[items.item[i]] - 3) + 1;
      if (early > items.before) items.before = early;
    }
    return items;
  }
  static constexpr Items kItems = Make();
  static constexpr int kBefore = kItems.before;
};

// ---- a window of three columns, from sums to codes
// ------------------------------------------------------------------------------------------------
//
// In assembly: 7 outputs of 8 channels in a turn. Behind its last use a column or weight is
// replaced by that of the next step, so that no load waits. The last turn does so too, with columns
// of the buffer and the first weights, which are used for nothing.

// Windows of that many groups of taps, as three rows are.
constexpr int kFewGroups = 4 / kTaps;
inline bool GroupsFit(const DepthwiseShape& s) {
  return (s.kernel_h + kTaps - 1) / kTaps == kFewGroups;
}

static_assert(kOutputs == 7 && kBytes == 16 && kSideBySide);

// It would indent each of the lists below a hundred columns deep:
// clang-format off

// Sums lie in v0 to v6, words in v7 to v13, columns in v14 to v22, weights in v23 to v25, the
// multipliers in v26, the limits in v29 to v31. x20 and x21: outputs 0 and 4, x22 to x24 bytes
// between 1 to 3 of them. x25, x26, x27, x19: how far columns, the bias, weights and outputs move,
// alternately to the other 8 channels and to the next outputs. x28: turns.
#define Q_OP(OP, S, LANES) #OP " v" #S "." #LANES ", v" #S "." #LANES
#define Q_SEVEN(F) F(0, 7) F(1, 8) F(2, 9) F(3, 10) F(4, 11) F(5, 12) F(6, 13)
#define Q_LOAD(R, X, AT) "ldr q" #R ", [" #X ", " #AT "]\n"
#define Q_FLOAT(S, D) Q_OP(scvtf, S, 4s) "\n"
#define Q_SCALE(S, D) Q_OP(fmul, S, 4s) ", v26.4s\n"
#define Q_ROUND(S, D) Q_OP(fcvtns, S, 4s) "\n"
#define Q_ZERO(S, D) Q_OP(sqadd, D, 8h) ", v29.8h\n"
#define Q_MAX(S, D) Q_OP(smax, D, 8h) ", v30.8h\n"
#define Q_MIN(S, D) Q_OP(smin, D, 8h) ", v31.8h\n"
#define Q_UNSIGNED(S, D) "sqxtun v" #D ".8b, v" #D ".8h\n"
#define Q_SIGNED(S, D) "sqxtn v" #D ".8b, v" #D ".8h\n"
#define Q_STORE(D, Y, AT) "str d" #D ", [" #Y ", " #AT "]\n"
#define Q_MOVE(X, BY) "add " #X ", " #X ", " #BY "\n"
#define Q_OUTPUTS                                                                                  \
  "mov x20, x5\nadd x21, x5, x6, lsl #2\nmov x22, x6\nlsl x23, x6, #1\nadd x24, x6, x6, lsl #1\n"  \
  "mov x26, #32\nmov x27, #96\nmov x19, #8\nlsl x28, x7, #1\nadd x17, x24, x6, lsl #2\n"           \
  "mov x30, #112\nldp q29, q30, [x4]\nldr q31, [x4, #32]\n"
#define Q_NEXT_OUTPUTS Q_MOVE(x20, x19) Q_MOVE(x21, x19) "sub x19, x17, x19\n"
#if defined(__ARM_FEATURE_DOTPROD)
// Each load beside a product, with an address that is a sum of two registers: others complete
// sooner than products, for which the Cortex-A55 waits. x1, x3 and x5, x7: columns and weights of
// part 1 and of what comes next; x8 to x15: 16 to 128; x16, x0, x2: the bias of part 0, part 1 and
// of what comes next, multipliers 64 bytes behind.
#define Q_DOT(S, X, W) "sdot v" #S ".4s, v" #X ".16b, v" #W ".16b\n"
#define Q_STEP(X, W, BIAS)                                                                         \
  Q_DOT(0, 14, 23) Q_LOAD(14, X, xzr) Q_DOT(1, 15, 23) Q_DOT(2, 16, 23) Q_LOAD(26, BIAS, x11)      \
  Q_DOT(3, 17, 23) Q_DOT(4, 18, 23) Q_DOT(5, 19, 23) Q_DOT(6, 20, 23) Q_LOAD(23, W, xzr)           \
  Q_DOT(0, 15, 24) Q_LOAD(15, X, x8) Q_DOT(1, 16, 24) Q_DOT(2, 17, 24) Q_DOT(3, 18, 24)            \
  Q_DOT(4, 19, 24) Q_DOT(5, 20, 24) Q_DOT(6, 21, 24) Q_LOAD(24, W, x8)                             \
  Q_DOT(0, 16, 25) Q_LOAD(16, X, x9) Q_DOT(1, 17, 25) Q_LOAD(17, X, x10)                           \
  Q_DOT(2, 18, 25) Q_LOAD(18, X, x11) Q_DOT(3, 19, 25) Q_LOAD(19, X, x12)                          \
  Q_DOT(4, 20, 25) Q_LOAD(20, X, x13) Q_DOT(5, 21, 25) Q_LOAD(21, X, x14)                          \
  Q_DOT(6, 22, 25) Q_LOAD(22, X, x15) Q_LOAD(25, W, x9)
#define Q_BIAS(S, D) Q_LOAD(S, x16, xzr)
#define Q_FIRST(S, D) "sqxtn v" #D ".4h, v" #S ".4s\n" Q_LOAD(S, x0, xzr)
#define Q_SECOND(S, D) "sqxtn2 v" #D ".8h, v" #S ".4s\n" Q_LOAD(S, x2, xzr)
#define Q_BEGIN                                                                                    \
  Q_OUTPUTS                                                                                        \
  "mov x8, #16\nmov x9, #32\nmov x10, #48\nmov x11, #64\nmov x12, #80\nmov x13, #96\n"             \
  "mov x14, #112\nmov x15, #128\nmov x16, x3\n"                                                    \
  Q_LOAD(23, x2, xzr) Q_LOAD(24, x2, x8) Q_LOAD(25, x2, x9) Q_LOAD(14, x0, xzr)                    \
  Q_LOAD(15, x0, x8) Q_LOAD(16, x0, x9) Q_LOAD(17, x0, x10) Q_LOAD(18, x0, x11)                    \
  Q_LOAD(19, x0, x12) Q_LOAD(20, x0, x13) Q_LOAD(21, x0, x14) Q_LOAD(22, x0, x15)                  \
  Q_SEVEN(Q_BIAS)                                                                                  \
  "lsr x1, x1, #2\nlsl x25, x1, #1\nadd x3, x0, x25\nadd x1, x1, x0\nadd x5, x2, #48\n"            \
  "add x7, x2, #96\nadd x0, x16, #16\nadd x2, x16, #32\n"
#define Q_FIRST_STEPS Q_STEP(x1, x5, x16) Q_SEVEN(Q_FLOAT)
#define Q_SECOND_STEPS Q_STEP(x3, x7, x0) Q_SEVEN(Q_FLOAT)
#define Q_MOVES                                                                                    \
  "subs x28, x28, #1\n" Q_MOVE(x1, x25) Q_MOVE(x5, x27) Q_MOVE(x16, x26) Q_MOVE(x0, x26)           \
  "sub x25, x30, x25\nneg x26, x26\nneg x27, x27\n" Q_MOVE(x3, x25) Q_MOVE(x7, x27) Q_MOVE(x2, x26)
// These beside the clamps, whose results come as soon as those of additions.
#define Q_BETWEEN(F, A, B, C, D, E, G, H)                                                          \
  F(0, 7) A F(1, 8) B F(2, 9) C F(3, 10) D F(4, 11) E F(5, 12) G F(6, 13) H
#define Q_CLAMP                                                                                    \
  Q_SEVEN(Q_ZERO)                                                                                  \
  Q_BETWEEN(Q_MAX, Q_MOVE(x1, x25), Q_MOVE(x5, x27), Q_MOVE(x16, x26), Q_MOVE(x0, x26),            \
            "sub x25, x30, x25\n", "neg x26, x26\n", "neg x27, x27\n")                             \
  Q_BETWEEN(Q_MIN, "subs x28, x28, #1\n", Q_MOVE(x3, x25), Q_MOVE(x7, x27), Q_MOVE(x2, x26), "",   \
            "", "")
#define Q_CLAMP_MOVES ""
#define Q_CODES(NARROW, MOVES)                                                                     \
  NARROW(0, 7) NARROW(1, 8) NARROW(2, 9) NARROW(3, 10) NARROW(4, 11) Q_STORE(7, x20, xzr)          \
  NARROW(5, 12) Q_STORE(8, x20, x22) NARROW(6, 13) Q_STORE(9, x20, x23) Q_STORE(10, x20, x24)      \
  MOVES Q_STORE(11, x21, xzr) Q_STORE(12, x21, x22) Q_STORE(13, x21, x23)
#else
// Three columns or weights by one LD1, which completes 6 cycles after it begins like a product and
// so costs the Cortex-A53 nothing; it takes no offset. Weights lie in v23 to v25 and v26 to v28 by
// turns. x0 to x2, x3 to x5, x6 to x8, x9 to x11: columns of part 0's second group, of part 1, of
// its second group, of what comes next, x12 to x15: weights of these; x16: the bias.
#define Q_LOW(S, X, W) "smlal v" #S ".4s, v" #X ".4h, v" #W ".4h\n"
#define Q_DOT(S, X, W) "smlal2 v" #S ".4s, v" #X ".8h, v" #W ".8h\n"
#define Q_THREE(A, C, X) "ld1 {v" #A ".16b-v" #C ".16b}, [" #X "]\n"
#define Q_LOWS(A, B, C, D, E, F, G, W)                                                             \
  Q_LOW(0, A, W) Q_LOW(1, B, W) Q_LOW(2, C, W) Q_LOW(3, D, W) Q_LOW(4, E, W) Q_LOW(5, F, W)        \
  Q_LOW(6, G, W)
#define Q_STEP(U, V, W, NEXT, X, Y, Z)                                                             \
  Q_LOWS(14, 15, 16, 17, 18, 19, 20, U) NEXT                                                       \
  Q_DOT(0, 14, U) Q_DOT(1, 15, U) Q_DOT(2, 16, U) Q_DOT(3, 17, U) Q_DOT(4, 18, U) Q_DOT(5, 19, U)  \
  Q_DOT(6, 20, U)                                                                                  \
  Q_LOWS(15, 16, 17, 18, 19, 20, 21, V)                                                            \
  Q_DOT(0, 15, V) Q_DOT(1, 16, V) Q_DOT(2, 17, V) Q_DOT(3, 18, V) Q_DOT(4, 19, V) Q_DOT(5, 20, V)  \
  Q_DOT(6, 21, V)                                                                                  \
  Q_LOWS(16, 17, 18, 19, 20, 21, 22, W)                                                            \
  Q_DOT(0, 16, W) Q_THREE(14, 16, X) Q_DOT(1, 17, W) Q_DOT(2, 18, W) Q_DOT(3, 19, W)               \
  Q_THREE(17, 19, Y) Q_DOT(4, 20, W) Q_DOT(5, 21, W) Q_DOT(6, 22, W) Q_THREE(20, 22, Z)
#define Q_EVEN(NEXT, X, Y, Z) Q_STEP(23, 24, 25, Q_THREE(26, 28, NEXT), X, Y, Z)
#define Q_ODD(NEXT, X, Y, Z) Q_STEP(26, 27, 28, Q_THREE(23, 25, NEXT), X, Y, Z)
#define Q_BIAS(S, D) "ldr q" #S ", [x16]\n"
#define Q_FIRST(S, D) "sqxtn v" #D ".4h, v" #S ".4s\nldr q" #S ", [x16, #16]\n"
#define Q_SECOND(S, D) "sqxtn2 v" #D ".8h, v" #S ".4s\n" Q_LOAD(S, x16, x26)
#define Q_COLUMNS(A, B, C, FROM, BY)                                                               \
  "add " #A ", " #FROM ", " #BY "\nadd " #B ", " #A ", #48\nadd " #C ", " #A ", #96\n"
#define Q_BEGIN                                                                                    \
  Q_OUTPUTS "mov x16, x3\nmov x9, x0\nmov x10, x1\nmov x12, x2\n"                                  \
  Q_THREE(23, 25, x12) "add x3, x0, #48\nadd x4, x0, #96\n" Q_THREE(14, 16, x0)                    \
  Q_THREE(17, 19, x3) Q_THREE(20, 22, x4) Q_SEVEN(Q_BIAS)                                          \
  "lsr x11, x10, #2\nlsl x25, x11, #1\n"                                                           \
  Q_COLUMNS(x0, x1, x2, x9, x10) Q_COLUMNS(x3, x4, x5, x9, x11) Q_COLUMNS(x6, x7, x8, x3, x10)     \
  Q_COLUMNS(x9, x10, x11, x9, x25)                                                                 \
  "add x15, x12, #96\nadd x13, x12, #48\nadd x14, x12, #240\nadd x12, x12, #192\n"
#define Q_FLOAT_SIX                                                                                \
  Q_FLOAT(1, 8) Q_FLOAT(2, 9) Q_FLOAT(3, 10) Q_FLOAT(4, 11) Q_FLOAT(5, 12) Q_FLOAT(6, 13)
#define Q_FIRST_STEPS                                                                              \
  Q_EVEN(x12, x0, x1, x2) Q_ODD(x13, x3, x4, x5)                                                      \
  Q_FLOAT(0, 7) "ldr q26, [x16, #64]\n" Q_FLOAT_SIX
#define Q_SECOND_STEPS                                                                             \
  Q_EVEN(x14, x6, x7, x8) Q_ODD(x15, x9, x10, x11)                                              \
  Q_FLOAT(0, 7) "ldr q26, [x16, #80]\n" Q_FLOAT_SIX
#define Q_MOVES                                                                                    \
  "subs x28, x28, #1\n" Q_MOVE(x0, x25) Q_MOVE(x1, x25) Q_MOVE(x2, x25) Q_MOVE(x3, x25)            \
  Q_MOVE(x4, x25) Q_MOVE(x5, x25) Q_MOVE(x6, x25) Q_MOVE(x7, x25) Q_MOVE(x8, x25)                  \
  Q_MOVE(x12, x27) Q_MOVE(x13, x27) Q_MOVE(x14, x27) Q_MOVE(x16, x26)                              \
  "sub x25, x30, x25\nneg x27, x27\nneg x26, x26\n" Q_MOVE(x9, x25) Q_MOVE(x10, x25)               \
  Q_MOVE(x11, x25) Q_MOVE(x15, x27)
#define Q_CLAMP Q_SEVEN(Q_ZERO) Q_SEVEN(Q_MAX) Q_SEVEN(Q_MIN)
#define Q_CLAMP_MOVES Q_MOVES
#define Q_CODES(NARROW, MOVES)                                                                     \
  Q_SEVEN(NARROW)                                                                                  \
  Q_STORE(7, x20, xzr) Q_STORE(8, x20, x22) Q_STORE(9, x20, x23) Q_STORE(10, x20, x24)             \
  Q_STORE(11, x21, xzr) Q_STORE(12, x21, x22) Q_STORE(13, x21, x23) MOVES
#endif
#define Q_FUNCTION(NAME, CLAMP, MOVES, NARROW)                                                     \
  __attribute__((noinline)) void NAME(const uint8_t* x, int64_t plane, const uint8_t* weights,     \
                                      const uint8_t* bias, const int16_t* limits, uint8_t* y,      \
                                      int64_t step, int64_t sevens) {                              \
    register const uint8_t* x0 asm("x0") = x;                                                      \
    register int64_t x1 asm("x1") = plane;                                                         \
    register const uint8_t* x2 asm("x2") = weights;                                                \
    register const uint8_t* x3 asm("x3") = bias;                                                   \
    register const int16_t* x4 asm("x4") = limits;                                                 \
    register uint8_t* x5 asm("x5") = y;                                                            \
    register int64_t x6 asm("x6") = step;                                                          \
    register int64_t x7 asm("x7") = sevens;                                                        \
    asm volatile(                                                                                  \
        Q_BEGIN ".p2align 4\n1:\n"                                                                 \
        Q_FIRST_STEPS Q_SEVEN(Q_SCALE) Q_SEVEN(Q_ROUND) Q_SEVEN(Q_FIRST)          \
        Q_SECOND_STEPS Q_SEVEN(Q_SCALE) Q_SEVEN(Q_ROUND) Q_SEVEN(Q_SECOND)        \
        CLAMP Q_CODES(NARROW, MOVES) Q_NEXT_OUTPUTS "b.ne 1b\n"                                    \
        : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4), "+r"(x5), "+r"(x6), "+r"(x7)           \
        :                                                                                          \
        : "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x19", "x20", "x21", \
          "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1", "v2", "v3", "v4",    \
          "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17",    \
          "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",      \
          "v30", "v31", "cc", "memory");                                                           \
  }
Q_FUNCTION(PlainUnsigned, "", Q_MOVES, Q_UNSIGNED)
Q_FUNCTION(PlainSigned, "", Q_MOVES, Q_SIGNED)
Q_FUNCTION(ClampedUnsigned, Q_CLAMP, Q_CLAMP_MOVES, Q_UNSIGNED)
Q_FUNCTION(ClampedSigned, Q_CLAMP, Q_CLAMP_MOVES, Q_SIGNED)
// clang-format on

#undef Q_BEGIN
#undef Q_BETWEEN
#undef Q_BIAS
#undef Q_CLAMP
#undef Q_CLAMP_MOVES
#undef Q_CODES
#undef Q_COLUMNS
#undef Q_DOT
#undef Q_EVEN
#undef Q_FIRST
#undef Q_FIRST_STEPS
#undef Q_FLOAT
#undef Q_FLOAT_SIX
#undef Q_FUNCTION
#undef Q_LOAD
#undef Q_LOW
#undef Q_LOWS
#undef Q_MAX
#undef Q_MIN
#undef Q_MOVE
#undef Q_MOVES
#undef Q_NEXT_OUTPUTS
#undef Q_ODD
#undef Q_OP
#undef Q_OUTPUTS
#undef Q_ROUND
#undef Q_SCALE
#undef Q_SECOND
#undef Q_SECOND_STEPS
#undef Q_SEVEN
#undef Q_SIGNED
#undef Q_STEP
#undef Q_STORE
#undef Q_THREE
#undef Q_UNSIGNED
#undef Q_ZERO

// Like Outputs, but any number of outputs of a row.
void Codes(const QDepthwiseView& d, const uint8_t* buffer, const uint8_t* weights,
           const uint8_t* bias, const Finish& f, int64_t outputs) {
  const QDepthwiseParams& p = d.params;
  alignas(16) int16_t limits[3][8];
  const int32_t all[] = {p.to.zero_point, p.to.lo, p.to.hi};
  for (int i = 0; i < 3; ++i) vst1q_s16(limits[i], vdupq_n_s16(static_cast<int16_t>(all[i])));
  const bool is_unsigned = p.y == CodeType::kU8;
  const auto run = f.plain       ? is_unsigned ? PlainUnsigned : PlainSigned
                   : is_unsigned ? ClampedUnsigned
                                 : ClampedSigned;
  const int64_t sevens = f.whole ? outputs / kOutputs : 0;
  if (sevens > 0) run(buffer, f.plane, weights, bias, limits[0], f.y[0], f.step, sevens);
  Finish rest = f;
  for (int64_t done = sevens * kOutputs; done < outputs; done += kOutputs) {
    alignas(16) uint8_t kept[kOutputs * kBytes];
    run(buffer + done * kColumnStep, f.plane, weights, bias, limits[0], kept, kBytes, 1);
    rest.y[0] = f.y[0] + done * f.step;
    Scatter(rest, kept, MinOf(kOutputs, outputs - done));
  }
}
