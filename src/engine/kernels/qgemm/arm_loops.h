// The inner loops of arm_tile.h, part of its namespace. In assembly, since their order decides on
// cores that do not reorder (Cortex-A53 and A55). A search for the order with llvm-mca as the judge
// made that of all but `many`, of registers too; what it has to get right:
//
//   * What completes sooner than an instruction before it waits for that. On both cores a product
//     (6 cycles on the A53, 4 on the A55) hides LD4R, LD4 of a lane and LD1 of two halves (5), and
//     nothing else that loads; ADD costs half a cycle if many stand together, two if alone.
//   * Six instructions stand between two that need each other.
//   * So a turn takes 16 codes or 32, pointers move together at its end, and a register is loaded
//     again as soon as it has been read.
//
// A turn begins with the last products of the turn before and ends with the pointers; the last are
// made behind the loop once more, without loads. Before the first turn weights and sums are 0, and
// so are its first products, while its operands are loaded. A loop loads nothing beyond its end.
//
// bench/arm measures them by llvm-mca: it finds them in the compiled object.

// It would indent each of the lists below a hundred columns deep:
// clang-format off

#define SLIPWAY_VECTORS                                                                          \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", \
      "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", \
      "v28", "v29", "v30", "v31", "cc", "memory"
#define SLIPWAY_POINTERS                                                                      \
  "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", \
      "x19", "x20", "x21", "x22"
#define SLIPWAY_ZERO4(a, b, c, d) \
  "movi v" #a ".4s, #0\nmovi v" #b ".4s, #0\nmovi v" #c ".4s, #0\nmovi v" #d ".4s, #0\n"
#define SLIPWAY_ZERO8(a, b, c, d, e, f, g, h) SLIPWAY_ZERO4(a, b, c, d) SLIPWAY_ZERO4(e, f, g, h)
#define SLIPWAY_ZERO_SUMS SLIPWAY_ZERO8(16, 17, 18, 19, 20, 21, 22, 23)
#define SLIPWAY_STORE4(at, a, b, c, d) \
  "stp q" #a ", q" #b ", [%[out], #" #at "]\nstp q" #c ", q" #d ", [%[out], #" #at " + 32]\n"
#define Q_STEP(p, by) "add " #p ", " #p ", #" #by "\n"
#define Q_COUNT "subs %[k], %[k], #16\n"
#define Q_AGAIN "b.ne 1b\n"

#if !defined(__ARM_FEATURE_DOTPROD)

// Instructions of one turn, 16 codes of 4 rows. Row m's first 8 codes lie at x(4 + m), the others
// at x(8 + m); weights from x12 on. A vector of a row has the same pair of codes in all lanes.
#define Q_PAIRS(a, b, p) "ld4r {v" #a ".8h-v" #b ".8h}, [" #p "]\n" /* all 4 pairs of 8 codes */
#define Q_LOW(a, b, p) "ld4r {v" #a ".2d-v" #b ".2d}, [" #p "]\n"   /* 4 times 8 bytes */
#define Q_HIGH(a, b, p) "ld4 {v" #a ".d-v" #b ".d}[1], [" #p "]\n"
#define Q_HALF(a, b, p) "ld1 {v" #a ".8b-v" #b ".8b}, [" #p "]\n"
#define Q_SMULL(s, w, x) "smull v" #s ".8h, v" #w ".8b, v" #x ".8b\n"
#define Q_SMLAL(s, w, x) "smlal v" #s ".8h, v" #w ".8b, v" #x ".8b\n"
#define Q_MUL(s, w, x) "mul v" #s ".16b, v" #w ".16b, v" #x ".16b\n"
#define Q_MLA(s, w, x) "mla v" #s ".16b, v" #w ".16b, v" #x ".16b\n"
#define Q_SUM16(a, s) "sadalp v" #a ".4s, v" #s ".8h\n"
#define Q_SUM8(a, s) "sadalp v" #a ".8h, v" #s ".16b\n"
// By 128; takes as long as a load, so that it need not stand with the others.
#define Q_STEP_W(p) "madd " #p ", x21, x22, " #p "\n"
#define SLIPWAY_ROWS                                                   \
  "ldp x4, x5, [%[x]]\nldp x6, x7, [%[x], #16]\n"                      \
  "add x8, x4, #8\nadd x9, x5, #8\nadd x10, x6, #8\nadd x11, x7, #8\n" \
  "mov x21, #8\nmov x22, #16\n"
#define SLIPWAY_AT(p, from, by) "add " #p ", %[" #from "], #" #by "\n"

// out: 4 rows by 8 columns of sums over k codes, a multiple of 16 and not 0. Sums in lanes of 16
// bits in v16 to v23, in lanes of 32 in v8 to v15; two rows in v0 to v7; each pair of codes has its
// weights in two of v24 to v31.
__attribute__((noinline)) void LoopTwo(const int8_t* const* x, const int8_t* w, int64_t k,
                                       int32_t* out) {
  asm volatile(
      SLIPWAY_ZERO_SUMS SLIPWAY_ZERO8(8, 9, 10, 11, 12, 13, 14, 15) SLIPWAY_ZERO4(26, 27, 30, 31)
      SLIPWAY_ROWS SLIPWAY_AT(x12, w, 0) SLIPWAY_AT(x13, w, 16) SLIPWAY_AT(x14, w, 32)
      SLIPWAY_AT(x15, w, 48) SLIPWAY_AT(x16, w, 64) SLIPWAY_AT(x17, w, 80) SLIPWAY_AT(x19, w, 96)
      SLIPWAY_AT(x20, w, 112)
      ".p2align 4\n1:\n"
      Q_HALF(24, 25, x12) Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1) Q_HALF(28, 29, x14)
      Q_SMLAL(20, 26, 5) Q_SMLAL(21, 27, 5) Q_HALF(26, 27, x13) Q_SMLAL(18, 30, 3)
      Q_SMLAL(19, 31, 3) Q_PAIRS(0, 3, x4) Q_SMLAL(22, 30, 7) Q_SMLAL(23, 31, 7) Q_PAIRS(4, 7, x5)
      Q_SUM16(12, 16) Q_SUM16(13, 17) Q_HALF(30, 31, x15) Q_SUM16(14, 20) Q_SUM16(15, 21)
      Q_SMULL(16, 24, 0) Q_SMULL(17, 25, 0) Q_SMULL(20, 24, 4) Q_SMULL(21, 25, 4) Q_SUM16(12, 18)
      Q_SUM16(13, 19) Q_SUM16(14, 22) Q_SUM16(15, 23) Q_SMULL(18, 28, 2) Q_SMULL(19, 29, 2)
      Q_SMULL(22, 28, 6) Q_SMULL(23, 29, 6) Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1)
      Q_SMLAL(20, 26, 5) Q_SMLAL(21, 27, 5) Q_SMLAL(18, 30, 3) Q_SMLAL(19, 31, 3)
      Q_PAIRS(0, 3, x6) Q_SMLAL(22, 30, 7) Q_SMLAL(23, 31, 7) Q_PAIRS(4, 7, x7) Q_SUM16(8, 16)
      Q_SUM16(9, 17) Q_SUM16(10, 20) Q_SUM16(11, 21) Q_SMULL(16, 24, 0) Q_SMULL(17, 25, 0)
      Q_SMULL(20, 24, 4) Q_SMULL(21, 25, 4) Q_SUM16(8, 18) Q_SUM16(9, 19) Q_SUM16(10, 22)
      Q_SUM16(11, 23) Q_SMULL(18, 28, 2) Q_SMULL(19, 29, 2) Q_SMULL(22, 28, 6) Q_SMULL(23, 29, 6)
      Q_HALF(24, 25, x16) Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1) Q_HALF(28, 29, x19)
      Q_SMLAL(20, 26, 5) Q_SMLAL(21, 27, 5) Q_HALF(26, 27, x17) Q_SMLAL(18, 30, 3)
      Q_SMLAL(19, 31, 3) Q_PAIRS(0, 3, x8) Q_SMLAL(22, 30, 7) Q_SMLAL(23, 31, 7) Q_PAIRS(4, 7, x9)
      Q_SUM16(12, 16) Q_SUM16(13, 17) Q_HALF(30, 31, x20) Q_SUM16(14, 20) Q_SUM16(15, 21)
      Q_SMULL(16, 24, 0) Q_SMULL(17, 25, 0) Q_SMULL(20, 24, 4) Q_SMULL(21, 25, 4) Q_SUM16(12, 18)
      Q_SUM16(13, 19) Q_SUM16(14, 22) Q_SUM16(15, 23) Q_SMULL(18, 28, 2) Q_SMULL(19, 29, 2)
      Q_SMULL(22, 28, 6) Q_SMULL(23, 29, 6) Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1)
      Q_SMLAL(20, 26, 5) Q_SMLAL(21, 27, 5) Q_SMLAL(18, 30, 3) Q_SMLAL(19, 31, 3)
      Q_PAIRS(0, 3, x10) Q_SMLAL(22, 30, 7) Q_SMLAL(23, 31, 7) Q_PAIRS(4, 7, x11) Q_SUM16(8, 16)
      Q_SUM16(9, 17) Q_SUM16(10, 20) Q_SUM16(11, 21) Q_SMULL(16, 24, 0) Q_SMULL(17, 25, 0)
      Q_SMULL(20, 24, 4) Q_SMULL(21, 25, 4) Q_SUM16(8, 18) Q_SUM16(9, 19) Q_SUM16(10, 22)
      Q_SUM16(11, 23) Q_SMULL(18, 28, 2) Q_SMULL(19, 29, 2) Q_SMULL(22, 28, 6) Q_SMULL(23, 29, 6)
      Q_STEP_W(x12) Q_COUNT Q_STEP(x4, 16) Q_STEP(x5, 16) Q_STEP(x6, 16) Q_STEP(x7, 16)
      Q_STEP(x8, 16) Q_STEP(x9, 16) Q_STEP(x10, 16) Q_STEP(x11, 16) Q_STEP(x13, 128)
      Q_STEP(x14, 128) Q_STEP(x15, 128) Q_STEP(x16, 128) Q_STEP(x17, 128) Q_STEP(x19, 128)
      Q_STEP(x20, 128) Q_AGAIN
      // The last.
      Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1) Q_SMLAL(20, 26, 5) Q_SMLAL(21, 27, 5)
      Q_SMLAL(18, 30, 3) Q_SMLAL(19, 31, 3) Q_SMLAL(22, 30, 7) Q_SMLAL(23, 31, 7) Q_SUM16(12, 16)
      Q_SUM16(13, 17) Q_SUM16(14, 20) Q_SUM16(15, 21) Q_SUM16(12, 18) Q_SUM16(13, 19)
      Q_SUM16(14, 22) Q_SUM16(15, 23) SLIPWAY_STORE4(0, 8, 9, 10, 11)
      SLIPWAY_STORE4(64, 12, 13, 14, 15)
      : [k] "+r"(k)
      : [x] "r"(x), [w] "r"(w), [out] "r"(out)
      : SLIPWAY_POINTERS, SLIPWAY_VECTORS);
}

// Adds sums in lanes of 16 bits (v16 to v23) of up to `k` codes to out, 4 rows by 8 columns; k is a
// multiple of 8, not 0. All four pairs of row m lie in v(4 m) to v(4 m + 3), weights of the first
// two in v24 to v27, of the others in v28 to v31.
#define SLIPWAY_FLUSH(at, a, b)                                                      \
  "ldp q28, q29, [%[out], #" #at "]\nsadalp v28.4s, v" #a ".8h\nsadalp v29.4s, v" #b \
  ".8h\n"                                                                            \
  "stp q28, q29, [%[out], #" #at "]\n"
#define SLIPWAY_BACK(p, by) "sub " #p ", " #p ", #" #by "\n"
__attribute__((noinline)) void LoopMany(const int8_t* const* x, const int8_t* w, int64_t k,
                                        int32_t* out) {
  asm volatile(
      SLIPWAY_ZERO_SUMS SLIPWAY_ZERO4(28, 29, 30, 31) SLIPWAY_ROWS SLIPWAY_AT(x12, w, 0)
      SLIPWAY_AT(x13, w, 32) SLIPWAY_AT(x14, w, 64) SLIPWAY_AT(x15, w, 96)
      // Where 8 codes are too many they are the second half of the first turn.
      "tbz %[k], #3, 1f\nadd %[k], %[k], #8\n" SLIPWAY_BACK(x4, 8) SLIPWAY_BACK(x5, 8)
      SLIPWAY_BACK(x6, 8) SLIPWAY_BACK(x7, 8) SLIPWAY_BACK(x8, 8) SLIPWAY_BACK(x9, 8)
      SLIPWAY_BACK(x10, 8) SLIPWAY_BACK(x11, 8) SLIPWAY_BACK(x12, 64) SLIPWAY_BACK(x13, 64)
      SLIPWAY_BACK(x14, 64) SLIPWAY_BACK(x15, 64) "b 2f\n"
      ".p2align 4\n1:\n"
      Q_SMLAL(16, 28, 2) Q_SMLAL(17, 29, 2) Q_LOW(24, 27, x12) Q_SMLAL(18, 28, 6)
      Q_SMLAL(19, 29, 6) Q_SMLAL(20, 28, 10) Q_SMLAL(21, 29, 10) Q_SMLAL(22, 28, 14)
      Q_SMLAL(23, 29, 14) Q_SMLAL(16, 30, 3) Q_SMLAL(17, 31, 3) Q_PAIRS(0, 3, x4)
      Q_SMLAL(18, 30, 7) Q_SMLAL(19, 31, 7) Q_PAIRS(4, 7, x5) Q_SMLAL(20, 30, 11)
      Q_SMLAL(21, 31, 11) Q_PAIRS(8, 11, x6) Q_SMLAL(22, 30, 15) Q_SMLAL(23, 31, 15)
      Q_PAIRS(12, 15, x7) Q_SMLAL(16, 24, 0) Q_SMLAL(17, 25, 0) Q_LOW(28, 31, x13)
      Q_SMLAL(18, 24, 4) Q_SMLAL(19, 25, 4) Q_SMLAL(20, 24, 8) Q_SMLAL(21, 25, 8)
      Q_SMLAL(22, 24, 12) Q_SMLAL(23, 25, 12) Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1)
      Q_SMLAL(18, 26, 5) Q_SMLAL(19, 27, 5) Q_SMLAL(20, 26, 9) Q_SMLAL(21, 27, 9)
      Q_SMLAL(22, 26, 13) Q_SMLAL(23, 27, 13)
      "2:\n"
      Q_SMLAL(16, 28, 2) Q_SMLAL(17, 29, 2) Q_LOW(24, 27, x14) Q_SMLAL(18, 28, 6)
      Q_SMLAL(19, 29, 6) Q_SMLAL(20, 28, 10) Q_SMLAL(21, 29, 10) Q_SMLAL(22, 28, 14)
      Q_SMLAL(23, 29, 14) Q_SMLAL(16, 30, 3) Q_SMLAL(17, 31, 3) Q_PAIRS(0, 3, x8)
      Q_SMLAL(18, 30, 7) Q_SMLAL(19, 31, 7) Q_PAIRS(4, 7, x9) Q_SMLAL(20, 30, 11)
      Q_SMLAL(21, 31, 11) Q_PAIRS(8, 11, x10) Q_SMLAL(22, 30, 15) Q_SMLAL(23, 31, 15)
      Q_PAIRS(12, 15, x11) Q_SMLAL(16, 24, 0) Q_SMLAL(17, 25, 0) Q_LOW(28, 31, x15)
      Q_SMLAL(18, 24, 4) Q_SMLAL(19, 25, 4) Q_SMLAL(20, 24, 8) Q_SMLAL(21, 25, 8)
      Q_SMLAL(22, 24, 12) Q_SMLAL(23, 25, 12) Q_SMLAL(16, 26, 1) Q_SMLAL(17, 27, 1)
      Q_SMLAL(18, 26, 5) Q_SMLAL(19, 27, 5) Q_SMLAL(20, 26, 9) Q_SMLAL(21, 27, 9)
      Q_SMLAL(22, 26, 13) Q_SMLAL(23, 27, 13) Q_STEP_W(x12) Q_COUNT Q_STEP(x4, 16) Q_STEP(x5, 16)
      Q_STEP(x6, 16) Q_STEP(x7, 16) Q_STEP(x8, 16) Q_STEP(x9, 16) Q_STEP(x10, 16) Q_STEP(x11, 16)
      Q_STEP(x13, 128) Q_STEP(x14, 128) Q_STEP(x15, 128) Q_AGAIN
      Q_SMLAL(16, 28, 2) Q_SMLAL(17, 29, 2) Q_SMLAL(18, 28, 6) Q_SMLAL(19, 29, 6)
      Q_SMLAL(20, 28, 10) Q_SMLAL(21, 29, 10) Q_SMLAL(22, 28, 14) Q_SMLAL(23, 29, 14)
      Q_SMLAL(16, 30, 3) Q_SMLAL(17, 31, 3) Q_SMLAL(18, 30, 7) Q_SMLAL(19, 31, 7)
      Q_SMLAL(20, 30, 11) Q_SMLAL(21, 31, 11) Q_SMLAL(22, 30, 15) Q_SMLAL(23, 31, 15)
      SLIPWAY_FLUSH(0, 16, 17) SLIPWAY_FLUSH(32, 18, 19) SLIPWAY_FLUSH(64, 20, 21)
      SLIPWAY_FLUSH(96, 22, 23)
      : [k] "+r"(k)
      : [x] "r"(x), [w] "r"(w), [out] "r"(out)
      : SLIPWAY_POINTERS, SLIPWAY_VECTORS);
}

// Products in lanes of 8 bits, of 16 columns: w has the weights of the first 8 and v of the others.
// A vector of weights has 4 columns of both: 0 to 3 and 8 to 11, or 4 to 7 and 12 to 15. So has
// out: [4 rows][2][8] sums over k codes, a multiple of 16 and not 0.
// Two products share a lane. Registers as in LoopTwo.
__attribute__((noinline)) void LoopBytes2(const int8_t* const* x, const int8_t* w, const int8_t* v,
                                          int64_t k, int16_t* out) {
  asm volatile(
      SLIPWAY_ZERO_SUMS SLIPWAY_ROWS SLIPWAY_AT(x12, w, 0) SLIPWAY_AT(x13, w, 32)
      SLIPWAY_AT(x14, w, 64) SLIPWAY_AT(x15, w, 96) SLIPWAY_AT(x16, v, 0) SLIPWAY_AT(x17, v, 32)
      SLIPWAY_AT(x19, v, 64) SLIPWAY_AT(x20, v, 96) SLIPWAY_ZERO8(8, 9, 10, 11, 12, 13, 14, 15)
      "movi v30.4s, #0\nmovi v31.4s, #0\n"
      ".p2align 4\n1:\n"
      Q_SUM8(14, 20) Q_LOW(24, 27, x12) Q_MLA(23, 31, 7) Q_SUM8(15, 21) Q_MLA(22, 30, 7)
      Q_PAIRS(4, 7, x5) Q_SUM8(12, 16) Q_MLA(19, 31, 3) Q_HIGH(24, 27, x16) Q_STEP_W(x12)
      Q_MLA(18, 30, 3) Q_LOW(28, 31, x13) Q_SUM8(13, 17) Q_SUM8(15, 23) Q_PAIRS(0, 3, x4)
      Q_SUM8(14, 22) Q_MUL(20, 24, 4) Q_MUL(21, 25, 4) Q_HIGH(28, 31, x17) Q_SUM8(12, 18)
      Q_SUM8(13, 19) Q_MUL(16, 24, 0) Q_MUL(17, 25, 0) Q_MLA(20, 26, 5) Q_MUL(23, 29, 6)
      Q_MUL(18, 28, 2) Q_MUL(22, 28, 6) Q_MUL(19, 29, 2) Q_MLA(21, 27, 5) Q_MLA(17, 27, 1)
      Q_MLA(16, 26, 1) Q_MLA(23, 31, 7) Q_MLA(22, 30, 7) Q_PAIRS(4, 7, x7) Q_SUM8(10, 20)
      Q_MLA(18, 30, 3) Q_MLA(19, 31, 3) Q_PAIRS(0, 3, x6) Q_SUM8(11, 21) Q_SUM8(8, 16)
      Q_SUM8(9, 17) Q_MUL(20, 24, 4) Q_MUL(21, 25, 4) Q_MUL(17, 25, 0) Q_MUL(16, 24, 0)
      Q_SUM8(11, 23) Q_SUM8(10, 22) Q_SUM8(9, 19) Q_MUL(23, 29, 6) Q_MLA(17, 27, 1)
      Q_MLA(20, 26, 5) Q_MLA(16, 26, 1) Q_MLA(21, 27, 5) Q_LOW(24, 27, x14) Q_MUL(22, 28, 6)
      Q_MUL(19, 29, 2) Q_SUM8(8, 18) Q_MUL(18, 28, 2) Q_MLA(23, 31, 7) Q_HIGH(24, 27, x19)
      Q_SUM8(14, 20) Q_MLA(22, 30, 7) Q_PAIRS(4, 7, x9) Q_SUM8(15, 21) Q_MLA(19, 31, 3)
      Q_MLA(18, 30, 3) Q_LOW(28, 31, x15) Q_SUM8(12, 16) Q_SUM8(13, 17) Q_PAIRS(0, 3, x8)
      Q_MUL(21, 25, 4) Q_MUL(20, 24, 4) Q_SUM8(14, 22) Q_HIGH(28, 31, x20) Q_SUM8(15, 23)
      Q_STEP(x5, 16) Q_STEP(x8, 16) Q_STEP(x14, 128) Q_STEP(x9, 16) Q_MLA(20, 26, 5)
      Q_SUM8(12, 18) Q_MUL(18, 28, 2) Q_MUL(23, 29, 6) Q_MUL(16, 24, 0) Q_MUL(22, 28, 6)
      Q_MUL(17, 25, 0) Q_SUM8(13, 19) Q_MUL(19, 29, 2) Q_MLA(21, 27, 5) Q_MLA(16, 26, 1)
      Q_MLA(23, 31, 7) Q_MLA(17, 27, 1) Q_MLA(22, 30, 7) Q_PAIRS(4, 7, x11) Q_SUM8(10, 20)
      Q_SUM8(11, 21) Q_SUM8(8, 16) Q_MLA(18, 30, 3) Q_MLA(19, 31, 3) Q_PAIRS(0, 3, x10)
      Q_MUL(20, 24, 4) Q_SUM8(9, 17) Q_SUM8(10, 22) Q_MUL(22, 28, 6) Q_SUM8(8, 18)
      Q_MUL(18, 28, 2) Q_MUL(17, 25, 0) Q_MUL(21, 25, 4) Q_SUM8(9, 19) Q_MUL(16, 24, 0)
      Q_SUM8(11, 23) Q_MLA(20, 26, 5) Q_MUL(23, 29, 6) Q_MUL(19, 29, 2) Q_MLA(17, 27, 1)
      Q_MLA(16, 26, 1) Q_MLA(21, 27, 5) Q_STEP(x19, 128) Q_COUNT Q_STEP(x11, 16) Q_STEP(x15, 128)
      Q_STEP(x16, 128) Q_STEP(x7, 16) Q_STEP(x20, 128) Q_STEP(x13, 128) Q_STEP(x10, 16)
      Q_STEP(x6, 16) Q_STEP(x4, 16) Q_STEP(x17, 128) Q_AGAIN
      Q_MLA(18, 30, 3) Q_MLA(19, 31, 3) Q_MLA(22, 30, 7) Q_MLA(23, 31, 7) Q_SUM8(12, 16)
      Q_SUM8(13, 17) Q_SUM8(14, 20) Q_SUM8(15, 21) Q_SUM8(12, 18) Q_SUM8(13, 19) Q_SUM8(14, 22)
      Q_SUM8(15, 23) SLIPWAY_STORE4(0, 8, 9, 10, 11) SLIPWAY_STORE4(64, 12, 13, 14, 15)
      : [k] "+r"(k)
      : [x] "r"(x), [w] "r"(w), [v] "r"(v), [out] "r"(out)
      : SLIPWAY_POINTERS, SLIPWAY_VECTORS);
}

// The others take 3 rows and 32 codes a turn: then a row's four pairs need not be loaded twice, as
// with 4 rows, and the jump costs half as much. Pairs of a row in v0 to v11, weights in v12 to v19,
// sums of 8 bits in v20 to v25, of 16 in v26 to v31. Every place that is read has its own pointer:
// codes 8 i of row m x(4 m + i + 1), weights x13 to x17, x19 to x28 and x30. x29 counts. k is a
// multiple of 16: where 16 codes are too many they are the second half of the first turn.
struct Bytes {
  const int8_t *x[3], *w, *v;  // x: of every row
  int64_t k;
  int16_t* out;  // [3 rows][2][8], as above
};
#define Q_COUNT32 "subs x29, x29, #32\n"
#define Q_MOVE_W(p) "madd " #p ", x0, x0, " #p "\n"  // by 256, as Q_STEP_W
#define Q_FROM(p, from, by) "add " #p ", " #from ", #" #by "\n"
#define Q_ROW32(a, b, c, d) Q_FROM(b, a, 8) Q_FROM(c, a, 16) Q_FROM(d, a, 24)
#define SLIPWAY_THREE_ROWS                                                                        \
  "stp x29, x0, [sp, #-16]!\n"                                                                    \
  "ldp x1, x5, [x0]\nldp x9, x13, [x0, #16]\nldp x22, x29, [x0, #32]\n"                           \
  "and x0, x29, #16\nadd x29, x29, x0\nsub x1, x1, x0\nsub x5, x5, x0\nsub x9, x9, x0\n"          \
  "sub x13, x13, x0, lsl #3\nsub x22, x22, x0, lsl #3\ntst x0, x0\nmov x0, #16\n"                 \
  SLIPWAY_ZERO8(12, 13, 14, 15, 16, 17, 18, 19) SLIPWAY_ZERO8(20, 21, 22, 23, 24, 25, 26, 27)    \
      SLIPWAY_ZERO4(28, 29, 30, 31) Q_ROW32(x1, x2, x3, x4) Q_ROW32(x5, x6, x7, x8)              \
          Q_ROW32(x9, x10, x11, x12) Q_FROM(x14, x13, 32) Q_FROM(x15, x13, 64)                   \
              Q_FROM(x16, x13, 96) Q_FROM(x17, x13, 128) Q_FROM(x19, x13, 160)                   \
                  Q_FROM(x20, x13, 192) Q_FROM(x21, x13, 224) Q_FROM(x23, x22, 32)               \
                      Q_FROM(x24, x22, 64) Q_FROM(x25, x22, 96) Q_FROM(x26, x22, 128)            \
                          Q_FROM(x27, x22, 160) Q_FROM(x28, x22, 192) Q_FROM(x30, x22, 224)      \
  "b.ne 2f\n"
#define SLIPWAY_THREE_ROWS_OUT                                                                 \
  "ldp x29, x0, [sp], #16\nldr x0, [x0, #48]\n"                                                \
  "stp q26, q27, [x0]\nstp q28, q29, [x0, #32]\nstp q30, q31, [x0, #64]\n"
#define SLIPWAY_THREE_ROWS_OPERANDS                                                               \
  : "+r"(at)                                                                                      \
  :                                                                                               \
  : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",      \
    "x15", "x16", "x17", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",    \
    "x30", SLIPWAY_VECTORS

// Four do (8 codes).
__attribute__((noinline)) void LoopBytes4(const Bytes& bytes) {
  register const Bytes* at asm("x0") = &bytes;
  asm volatile(
      SLIPWAY_THREE_ROWS
      ".p2align 4\n1:\n"
      Q_MLA(24, 18, 11) Q_MLA(20, 16, 2) Q_LOW(12, 15, x13) Q_MLA(23, 17, 6) Q_MLA(21, 17, 2)
      Q_MLA(22, 18, 7) Q_MLA(25, 19, 11) Q_MLA(24, 16, 10) Q_HIGH(12, 15, x22) Q_MLA(20, 18, 3)
      Q_MLA(23, 19, 7) Q_MLA(21, 19, 3) Q_PAIRS(0, 3, x1) Q_MLA(22, 16, 6) Q_MLA(25, 17, 10)
      Q_PAIRS(4, 7, x5) Q_SUM8(30, 24) Q_SUM8(26, 20) Q_SUM8(29, 23) Q_SUM8(27, 21) Q_SUM8(28, 22)
      Q_PAIRS(8, 11, x9) Q_MUL(21, 15, 1) Q_MUL(20, 12, 0) Q_LOW(16, 19, x14) Q_MUL(23, 15, 5)
      Q_MUL(22, 12, 4) Q_SUM8(31, 25) Q_MUL(24, 14, 9) Q_MUL(25, 15, 9) Q_MLA(20, 14, 1)
      Q_HIGH(16, 19, x23) Q_MLA(21, 13, 0) Q_MLA(22, 14, 5) Q_MLA(23, 13, 4) Q_MLA(24, 12, 8)
      Q_MLA(25, 13, 8) Q_LOW(12, 15, x15) Q_MLA(20, 18, 3) Q_MLA(21, 17, 2) Q_MLA(22, 16, 6)
      Q_MLA(23, 17, 6) Q_MLA(24, 16, 10) Q_MLA(25, 17, 10) Q_HIGH(12, 15, x24) Q_MLA(20, 16, 2)
      Q_MLA(21, 19, 3) Q_PAIRS(0, 3, x2) Q_MLA(22, 18, 7) Q_MLA(23, 19, 7) Q_MLA(24, 18, 11)
      Q_MLA(25, 19, 11) Q_SUM8(26, 20) Q_PAIRS(4, 7, x6) Q_MUL(20, 12, 0) Q_SUM8(28, 22)
      Q_PAIRS(8, 11, x10) Q_SUM8(27, 21) Q_MUL(21, 15, 1) Q_SUM8(29, 23) Q_MUL(22, 12, 4)
      Q_LOW(16, 19, x16) Q_MUL(23, 13, 4) Q_SUM8(30, 24) Q_MUL(24, 12, 8) Q_SUM8(31, 25)
      Q_MUL(25, 13, 8) Q_HIGH(16, 19, x25) Q_MLA(20, 14, 1) Q_MLA(21, 13, 0) Q_MLA(22, 14, 5)
      Q_MLA(23, 15, 5) Q_MLA(24, 14, 9) Q_MLA(25, 15, 9) Q_MLA(20, 18, 3)
      "2:\n"
      Q_LOW(12, 15, x17) Q_MLA(21, 19, 3) Q_MLA(22, 16, 6) Q_MLA(23, 17, 6) Q_MLA(24, 18, 11)
      Q_MLA(25, 17, 10) Q_HIGH(12, 15, x26) Q_MLA(20, 16, 2) Q_MLA(21, 17, 2) Q_PAIRS(0, 3, x3)
      Q_MLA(22, 18, 7) Q_MLA(23, 19, 7) Q_PAIRS(4, 7, x7) Q_MLA(24, 16, 10) Q_MLA(25, 19, 11)
      Q_PAIRS(8, 11, x11) Q_SUM8(26, 20) Q_SUM8(27, 21) Q_MUL(21, 13, 0) Q_LOW(16, 19, x19)
      Q_SUM8(29, 23) Q_MUL(20, 12, 0) Q_SUM8(28, 22) Q_MUL(22, 12, 4) Q_MUL(23, 15, 5)
      Q_SUM8(30, 24) Q_MUL(24, 12, 8) Q_SUM8(31, 25) Q_HIGH(16, 19, x27) Q_MUL(25, 13, 8)
      Q_MLA(20, 14, 1) Q_MLA(21, 15, 1) Q_MLA(22, 14, 5) Q_MLA(23, 13, 4) Q_MLA(24, 14, 9)
      Q_MLA(25, 15, 9) Q_MLA(20, 16, 2) Q_MLA(21, 19, 3) Q_LOW(12, 15, x20) Q_MLA(22, 18, 7)
      Q_MLA(23, 17, 6) Q_MLA(24, 16, 10) Q_MLA(25, 17, 10) Q_MLA(20, 18, 3) Q_HIGH(12, 15, x28)
      Q_MLA(21, 17, 2) Q_MLA(22, 16, 6) Q_PAIRS(0, 3, x4) Q_MLA(23, 19, 7) Q_MLA(24, 18, 11)
      Q_PAIRS(4, 7, x8) Q_MLA(25, 19, 11) Q_SUM8(26, 20) Q_SUM8(27, 21) Q_MUL(21, 13, 0)
      Q_LOW(16, 19, x21) Q_SUM8(29, 23) Q_MUL(23, 13, 4) Q_PAIRS(8, 11, x12) Q_MUL(20, 14, 1)
      Q_SUM8(31, 25) Q_SUM8(28, 22) Q_MUL(22, 14, 5) Q_SUM8(30, 24) Q_HIGH(16, 19, x30)
      Q_MUL(24, 14, 9) Q_MUL(25, 13, 8) Q_MLA(20, 12, 0) Q_MLA(21, 15, 1) Q_MLA(22, 12, 4)
      Q_MLA(23, 15, 5) Q_MLA(24, 12, 8) Q_MLA(25, 15, 9) Q_MOVE_W(x13) Q_COUNT32 Q_STEP(x22, 256)
      Q_STEP(x1, 32) Q_STEP(x5, 32) Q_STEP(x9, 32) Q_STEP(x14, 256) Q_STEP(x23, 256)
      Q_STEP(x15, 256) Q_STEP(x24, 256) Q_STEP(x2, 32) Q_STEP(x6, 32) Q_STEP(x10, 32)
      Q_STEP(x16, 256) Q_STEP(x25, 256) Q_STEP(x17, 256) Q_STEP(x26, 256) Q_STEP(x3, 32)
      Q_STEP(x7, 32) Q_STEP(x11, 32) Q_STEP(x19, 256) Q_STEP(x27, 256) Q_STEP(x20, 256)
      Q_STEP(x28, 256) Q_STEP(x4, 32) Q_STEP(x8, 32) Q_STEP(x21, 256) Q_STEP(x12, 32)
      Q_STEP(x30, 256) Q_AGAIN
      Q_MLA(24, 18, 11) Q_MLA(20, 16, 2) Q_MLA(23, 17, 6) Q_MLA(21, 17, 2) Q_MLA(22, 18, 7)
      Q_MLA(25, 19, 11) Q_MLA(24, 16, 10) Q_MLA(20, 18, 3) Q_MLA(23, 19, 7) Q_MLA(21, 19, 3)
      Q_MLA(22, 16, 6) Q_MLA(25, 17, 10) Q_SUM8(26, 20) Q_SUM8(27, 21) Q_SUM8(28, 22)
      Q_SUM8(29, 23) Q_SUM8(30, 24) Q_SUM8(31, 25) SLIPWAY_THREE_ROWS_OUT
      SLIPWAY_THREE_ROWS_OPERANDS);
}

// Eight do (16 codes).
__attribute__((noinline)) void LoopBytes8(const Bytes& bytes) {
  register const Bytes* at asm("x0") = &bytes;
  asm volatile(
      SLIPWAY_THREE_ROWS
      ".p2align 4\n1:\n"
      Q_MLA(20, 18, 3) Q_LOW(12, 15, x13) Q_MLA(22, 18, 7) Q_MLA(23, 17, 6) Q_MLA(21, 17, 2)
      Q_MLA(25, 19, 11) Q_MLA(24, 18, 11) Q_MLA(20, 16, 2) Q_MLA(22, 16, 6) Q_HIGH(12, 15, x22)
      Q_MLA(23, 19, 7) Q_MLA(21, 19, 3) Q_PAIRS(0, 3, x1) Q_MLA(25, 17, 10) Q_MLA(24, 16, 10)
      Q_PAIRS(4, 7, x5) Q_SUM8(26, 20) Q_SUM8(28, 22) Q_LOW(16, 19, x14) Q_SUM8(29, 23)
      Q_MUL(20, 14, 1) Q_PAIRS(8, 11, x9) Q_SUM8(27, 21) Q_MUL(21, 13, 0) Q_MUL(23, 15, 5)
      Q_MUL(22, 12, 4) Q_SUM8(30, 24) Q_SUM8(31, 25) Q_HIGH(16, 19, x23) Q_MUL(24, 12, 8)
      Q_MUL(25, 15, 9) Q_MLA(21, 15, 1) Q_MLA(20, 12, 0) Q_MLA(23, 13, 4) Q_MLA(22, 14, 5)
      Q_MLA(24, 14, 9) Q_MLA(25, 13, 8) Q_LOW(12, 15, x15) Q_MLA(21, 19, 3) Q_MLA(20, 16, 2)
      Q_MLA(23, 19, 7) Q_MLA(22, 16, 6) Q_MLA(24, 16, 10) Q_HIGH(12, 15, x24) Q_MLA(25, 19, 11)
      Q_MLA(21, 17, 2) Q_MLA(20, 18, 3) Q_PAIRS(0, 3, x2) Q_MLA(23, 17, 6) Q_MLA(22, 18, 7)
      Q_PAIRS(4, 7, x6) Q_MLA(24, 18, 11) Q_MLA(25, 17, 10) Q_PAIRS(8, 11, x10) Q_MLA(20, 12, 0)
      Q_MLA(21, 15, 1) Q_LOW(16, 19, x16) Q_MLA(23, 13, 4) Q_MLA(22, 12, 4) Q_MLA(24, 14, 9)
      Q_MLA(25, 13, 8) Q_MLA(20, 14, 1) Q_HIGH(16, 19, x25) Q_MLA(21, 13, 0) Q_MLA(23, 15, 5)
      Q_MLA(22, 14, 5) Q_MLA(24, 12, 8) Q_MLA(25, 15, 9) Q_MLA(20, 18, 3) Q_MLA(21, 19, 3)
      "2:\n"
      Q_LOW(12, 15, x17) Q_MLA(23, 19, 7) Q_MLA(22, 18, 7) Q_MLA(24, 18, 11) Q_MLA(25, 17, 10)
      Q_MLA(20, 16, 2) Q_HIGH(12, 15, x26) Q_MLA(21, 17, 2) Q_MLA(23, 17, 6) Q_PAIRS(0, 3, x3)
      Q_MLA(22, 16, 6) Q_MLA(24, 16, 10) Q_PAIRS(4, 7, x7) Q_MLA(25, 19, 11) Q_SUM8(26, 20)
      Q_PAIRS(8, 11, x11) Q_SUM8(27, 21) Q_MUL(20, 12, 0) Q_SUM8(28, 22) Q_MUL(22, 14, 5)
      Q_SUM8(29, 23) Q_MUL(21, 15, 1) Q_LOW(16, 19, x19) Q_MUL(23, 13, 4) Q_SUM8(31, 25)
      Q_MUL(25, 13, 8) Q_SUM8(30, 24) Q_MUL(24, 14, 9) Q_HIGH(16, 19, x27) Q_MLA(20, 14, 1)
      Q_MLA(21, 13, 0) Q_MLA(23, 15, 5) Q_MLA(22, 12, 4) Q_MLA(25, 15, 9) Q_MLA(24, 12, 8)
      Q_MLA(20, 18, 3) Q_LOW(12, 15, x20) Q_MLA(21, 17, 2) Q_MLA(23, 17, 6) Q_MLA(22, 18, 7)
      Q_MLA(25, 17, 10) Q_MLA(24, 18, 11) Q_HIGH(12, 15, x28) Q_MLA(20, 16, 2) Q_MLA(21, 19, 3)
      Q_PAIRS(0, 3, x4) Q_MLA(23, 19, 7) Q_MLA(22, 16, 6) Q_PAIRS(4, 7, x8) Q_MLA(25, 19, 11)
      Q_MLA(24, 16, 10) Q_PAIRS(8, 11, x12) Q_MLA(20, 12, 0) Q_MLA(21, 13, 0) Q_MLA(23, 13, 4)
      Q_LOW(16, 19, x21) Q_MLA(22, 14, 5) Q_MLA(24, 14, 9) Q_MLA(25, 15, 9) Q_MLA(20, 14, 1)
      Q_MLA(21, 15, 1) Q_MLA(23, 15, 5) Q_MLA(22, 12, 4) Q_MLA(24, 12, 8) Q_HIGH(16, 19, x30)
      Q_MLA(25, 13, 8) Q_MOVE_W(x13) Q_COUNT32 Q_STEP(x22, 256) Q_STEP(x1, 32) Q_STEP(x5, 32)
      Q_STEP(x14, 256) Q_STEP(x9, 32) Q_STEP(x23, 256) Q_STEP(x15, 256) Q_STEP(x24, 256)
      Q_STEP(x2, 32) Q_STEP(x6, 32) Q_STEP(x10, 32) Q_STEP(x16, 256) Q_STEP(x25, 256)
      Q_STEP(x17, 256) Q_STEP(x26, 256) Q_STEP(x3, 32) Q_STEP(x7, 32) Q_STEP(x11, 32)
      Q_STEP(x19, 256) Q_STEP(x27, 256) Q_STEP(x20, 256) Q_STEP(x28, 256) Q_STEP(x4, 32)
      Q_STEP(x8, 32) Q_STEP(x12, 32) Q_STEP(x21, 256) Q_STEP(x30, 256) Q_AGAIN
      Q_MLA(20, 18, 3) Q_MLA(22, 18, 7) Q_MLA(23, 17, 6) Q_MLA(21, 17, 2) Q_MLA(25, 19, 11)
      Q_MLA(24, 18, 11) Q_MLA(20, 16, 2) Q_MLA(22, 16, 6) Q_MLA(23, 19, 7) Q_MLA(21, 19, 3)
      Q_MLA(25, 17, 10) Q_MLA(24, 16, 10) Q_SUM8(26, 20) Q_SUM8(27, 21) Q_SUM8(28, 22)
      Q_SUM8(29, 23) Q_SUM8(30, 24) Q_SUM8(31, 25) SLIPWAY_THREE_ROWS_OUT
      SLIPWAY_THREE_ROWS_OPERANDS);
}

// Sixteen do (32 codes).
__attribute__((noinline)) void LoopBytes16(const Bytes& bytes) {
  register const Bytes* at asm("x0") = &bytes;
  asm volatile(
      SLIPWAY_THREE_ROWS
      ".p2align 4\n1:\n"
      Q_MLA(24, 14, 9) Q_MLA(25, 13, 8) Q_LOW(12, 15, x13) Q_MLA(20, 18, 3) Q_MLA(21, 17, 2)
      Q_MLA(23, 17, 6) Q_MLA(22, 18, 7) Q_MLA(24, 16, 10) Q_HIGH(12, 15, x22) Q_MLA(25, 19, 11)
      Q_MLA(20, 16, 2) Q_MLA(21, 19, 3) Q_PAIRS(0, 3, x1) Q_MLA(23, 19, 7) Q_MLA(22, 16, 6)
      Q_PAIRS(4, 7, x5) Q_MLA(24, 18, 11) Q_MLA(25, 17, 10) Q_PAIRS(8, 11, x9) Q_SUM8(26, 20)
      Q_MUL(20, 14, 1) Q_LOW(16, 19, x14) Q_MLA(21, 15, 1) Q_MLA(23, 13, 4) Q_MLA(22, 12, 4)
      Q_MLA(24, 14, 9) Q_MLA(25, 15, 9) Q_HIGH(16, 19, x23) Q_MLA(20, 12, 0) Q_MLA(21, 13, 0)
      Q_MLA(23, 15, 5) Q_MLA(22, 14, 5) Q_MLA(24, 12, 8) Q_MLA(25, 13, 8) Q_MLA(20, 16, 2)
      Q_LOW(12, 15, x15) Q_MLA(21, 17, 2) Q_MLA(23, 17, 6) Q_MLA(22, 16, 6) Q_MLA(24, 16, 10)
      Q_MLA(25, 17, 10) Q_HIGH(12, 15, x24) Q_MLA(20, 18, 3) Q_MLA(21, 19, 3) Q_PAIRS(0, 3, x2)
      Q_MLA(23, 19, 7) Q_MLA(22, 18, 7) Q_PAIRS(4, 7, x6) Q_SUM8(30, 24) Q_MUL(24, 18, 11)
      Q_MLA(25, 19, 11) Q_PAIRS(8, 11, x10) Q_MLA(21, 15, 1) Q_SUM8(29, 23) Q_LOW(16, 19, x16)
      Q_MLA(20, 14, 1) Q_MUL(23, 13, 4) Q_MLA(22, 14, 5) Q_MLA(25, 15, 9) Q_MLA(24, 12, 8)
      Q_HIGH(16, 19, x25) Q_MLA(21, 13, 0) Q_MLA(20, 12, 0) Q_MLA(23, 15, 5) Q_MLA(22, 12, 4)
      Q_MLA(25, 13, 8) Q_MLA(24, 14, 9) Q_MLA(21, 17, 2)
      "2:\n"
      Q_LOW(12, 15, x17) Q_MLA(20, 18, 3) Q_MLA(23, 17, 6) Q_MLA(22, 18, 7) Q_MLA(25, 17, 10)
      Q_MLA(24, 18, 11) Q_HIGH(12, 15, x26) Q_MLA(21, 19, 3) Q_MLA(20, 16, 2) Q_PAIRS(0, 3, x3)
      Q_MLA(23, 19, 7) Q_MLA(22, 16, 6) Q_PAIRS(4, 7, x7) Q_MLA(25, 19, 11) Q_MLA(24, 16, 10)
      Q_PAIRS(8, 11, x11) Q_SUM8(27, 21) Q_MLA(20, 14, 1) Q_LOW(16, 19, x19) Q_MUL(21, 15, 1)
      Q_MLA(22, 14, 5) Q_MLA(23, 15, 5) Q_MLA(25, 13, 8) Q_MLA(24, 12, 8) Q_HIGH(16, 19, x27)
      Q_MLA(20, 12, 0) Q_MLA(21, 13, 0) Q_MLA(22, 12, 4) Q_MLA(23, 13, 4) Q_MLA(25, 15, 9)
      Q_MLA(24, 14, 9) Q_MLA(20, 16, 2) Q_LOW(12, 15, x20) Q_MLA(21, 19, 3) Q_MLA(22, 18, 7)
      Q_MLA(23, 17, 6) Q_MLA(25, 19, 11) Q_MLA(24, 16, 10) Q_HIGH(12, 15, x28) Q_MLA(20, 18, 3)
      Q_MLA(21, 17, 2) Q_PAIRS(0, 3, x4) Q_MLA(22, 16, 6) Q_MLA(23, 19, 7) Q_PAIRS(4, 7, x8)
      Q_SUM8(31, 25) Q_MLA(24, 18, 11) Q_MUL(25, 17, 10) Q_PAIRS(8, 11, x12) Q_MLA(20, 12, 0)
      Q_SUM8(28, 22) Q_MLA(21, 15, 1) Q_MUL(22, 12, 4) Q_LOW(16, 19, x21) Q_MLA(23, 13, 4)
      Q_MLA(24, 12, 8) Q_MLA(20, 14, 1) Q_MLA(25, 15, 9) Q_MLA(21, 13, 0) Q_MLA(22, 14, 5)
      Q_HIGH(16, 19, x30) Q_MLA(23, 15, 5) Q_MOVE_W(x13) Q_COUNT32 Q_STEP(x22, 256) Q_STEP(x1, 32)
      Q_STEP(x5, 32) Q_STEP(x9, 32) Q_STEP(x14, 256) Q_STEP(x23, 256) Q_STEP(x15, 256)
      Q_STEP(x24, 256) Q_STEP(x2, 32) Q_STEP(x6, 32) Q_STEP(x10, 32) Q_STEP(x16, 256)
      Q_STEP(x25, 256) Q_STEP(x17, 256) Q_STEP(x26, 256) Q_STEP(x3, 32) Q_STEP(x7, 32)
      Q_STEP(x11, 32) Q_STEP(x19, 256) Q_STEP(x27, 256) Q_STEP(x20, 256) Q_STEP(x28, 256)
      Q_STEP(x4, 32) Q_STEP(x8, 32) Q_STEP(x12, 32) Q_STEP(x21, 256) Q_STEP(x30, 256) Q_AGAIN
      Q_MLA(24, 14, 9) Q_MLA(25, 13, 8) Q_MLA(20, 18, 3) Q_MLA(21, 17, 2) Q_MLA(23, 17, 6)
      Q_MLA(22, 18, 7) Q_MLA(24, 16, 10) Q_MLA(25, 19, 11) Q_MLA(20, 16, 2) Q_MLA(21, 19, 3)
      Q_MLA(23, 19, 7) Q_MLA(22, 16, 6) Q_MLA(24, 18, 11) Q_MLA(25, 17, 10) Q_SUM8(26, 20)
      Q_SUM8(27, 21) Q_SUM8(28, 22) Q_SUM8(29, 23) Q_SUM8(30, 24) Q_SUM8(31, 25)
      SLIPWAY_THREE_ROWS_OUT
      SLIPWAY_THREE_ROWS_OPERANDS);
}

#elif !defined(__ARM_FEATURE_MATMUL_INT8)

// out: 4 rows by 16 columns of sums over k codes, a multiple of 16 and not 0. Sums in v16 to v31,
// 16 codes of row m in v(m), weights of 4 codes in v4 to v7 and v8 to v11 in turn. The A55 hides
// loads whose address is a sum of two registers: each of the 16 weights of a turn has its own
// pointer, and x25, which all of them add, is all that moves.
#define Q_DOT4(lane, x, a, b, c, d, s, t, u, v)     \
  "sdot v" #a ".4s, v" #s ".16b, v" #x ".4b[" #lane \
  "]\n"                                             \
  "sdot v" #b ".4s, v" #t ".16b, v" #x ".4b[" #lane \
  "]\n"                                             \
  "sdot v" #c ".4s, v" #u ".16b, v" #x ".4b[" #lane \
  "]\n"                                             \
  "sdot v" #d ".4s, v" #v ".16b, v" #x ".4b[" #lane "]\n"
#define Q_DOTS(lane, x, a, b, c, d, s, t, u, v, first, second, third, fourth)              \
  "sdot v" #a ".4s, v" #s ".16b, v" #x ".4b[" #lane "]\n" first "sdot v" #b ".4s, v" #t    \
  ".16b, v" #x ".4b[" #lane "]\n" second "sdot v" #c ".4s, v" #u ".16b, v" #x ".4b[" #lane \
  "]\n" third "sdot v" #d ".4s, v" #v ".16b, v" #x ".4b[" #lane "]\n" fourth
#define Q_ROW(m, p) "ldr q" #m ", [" #p ", x25]\n"
#define Q_W(q, p) "ldr q" #q ", [" #p ", x25, lsl #4]\n"
#define Q_LANE(lane, s, t, u, v, a, b, c, d, i, j, k, l)    \
  Q_DOT4(lane, 0, 16, 17, 18, 19, s, t, u, v)               \
  i Q_DOTS(lane, 1, 20, 21, 22, 23, s, t, u, v, a, b, c, d) \
  j Q_DOT4(lane, 2, 24, 25, 26, 27, s, t, u, v)             \
  k Q_DOT4(lane, 3, 28, 29, 30, 31, s, t, u, v)             \
  l
__attribute__((noinline)) void LoopDot(const int8_t* const* x, const int8_t* w, int64_t k,
                                       int32_t* out) {
  asm volatile(
      SLIPWAY_ZERO_SUMS SLIPWAY_ZERO8(24, 25, 26, 27, 28, 29, 30, 31)
      "ldp x4, x5, [%[x]]\nldp x6, x7, [%[x], #16]\nmov x25, #0\n"
      "mov x8, %[w]\nadd x9, x8, #16\nadd x10, x8, #32\nadd x11, x8, #48\n"
      "add x12, x8, #64\nadd x13, x8, #80\nadd x14, x8, #96\nadd x15, x8, #112\n"
      "add x16, x8, #128\nadd x17, x8, #144\nadd x19, x8, #160\nadd x20, x8, #176\n"
      "add x21, x8, #192\nadd x22, x8, #208\nadd x23, x8, #224\nadd x24, x8, #240\n" Q_ROW(0, x4)
      Q_ROW(1, x5) Q_ROW(2, x6) Q_ROW(3, x7) Q_W(4, x8) Q_W(5, x9) Q_W(6, x10) Q_W(7, x11)
      "b 2f\n"
      ".p2align 4\n1:\n"
      Q_LANE(3, 8, 9, 10, 11, Q_W(4, x8), Q_W(5, x9), Q_W(6, x10), Q_W(7, x11),
             Q_ROW(0, x4), Q_ROW(1, x5), Q_ROW(2, x6), Q_ROW(3, x7))
      "2:\n"
      Q_LANE(0, 4, 5, 6, 7, Q_W(8, x12), Q_W(9, x13), Q_W(10, x14), Q_W(11, x15), "", "", "", "")
      Q_LANE(1, 8, 9, 10, 11, Q_W(4, x16), Q_W(5, x17), Q_W(6, x19), Q_W(7, x20), "", "", "", "")
      Q_LANE(2, 4, 5, 6, 7, Q_W(8, x21), Q_W(9, x22), Q_W(10, x23), Q_W(11, x24), "", "", "", "")
      Q_STEP(x25, 16) Q_COUNT Q_AGAIN
      Q_LANE(3, 8, 9, 10, 11, "", "", "", "", "", "", "", "") SLIPWAY_STORE4(0, 16, 17, 18, 19)
      SLIPWAY_STORE4(64, 20, 21, 22, 23) SLIPWAY_STORE4(128, 24, 25, 26, 27)
      SLIPWAY_STORE4(192, 28, 29, 30, 31)
      : [k] "+r"(k)
      : [x] "r"(x), [w] "r"(w), [out] "r"(out)
      : SLIPWAY_POINTERS, "x23", "x24", "x25", SLIPWAY_VECTORS);
}

#endif

// clang-format on

#undef Q_AGAIN
#undef Q_COUNT
#undef Q_COUNT32
#undef Q_DOT4
#undef Q_DOTS
#undef Q_FROM
#undef Q_HALF
#undef Q_HIGH
#undef Q_LANE
#undef Q_LOW
#undef Q_MLA
#undef Q_MOVE_W
#undef Q_MUL
#undef Q_PAIRS
#undef Q_ROW
#undef Q_ROW32
#undef Q_SMLAL
#undef Q_SMULL
#undef Q_STEP
#undef Q_STEP_W
#undef Q_SUM16
#undef Q_SUM8
#undef Q_W
