// The loops of float_tile.h, part of namespace slipway::kernels::baseline. In assembly, since their
// order decides on cores that do not reorder; bench/arm measures them by llvm-mca, which finds them
// in the compiled object. Sums lie in v16 to v31 (two vectors a row), 4 numbers of each row in v0
// to v7, the weights of 4 numbers in v8 to v15.

// It would indent each of the lists below a hundred columns deep:
// clang-format off

#define F_ONE(S, W, X, LANE) "fmla v" #S ".4s, v" #W ".4s, v" #X ".s[" #LANE "]\n"
#define F_ROW(S, T, W, V, X, LANE) F_ONE(S, W, X, LANE) F_ONE(T, V, X, LANE)
#define F_UPPER(LANE, W, V)                                           \
  F_ROW(16, 17, W, V, 0, LANE) F_ROW(18, 19, W, V, 1, LANE)           \
  F_ROW(20, 21, W, V, 2, LANE) F_ROW(22, 23, W, V, 3, LANE)
#define F_LOWER(LANE, W, V)                                           \
  F_ROW(24, 25, W, V, 4, LANE) F_ROW(26, 27, W, V, 5, LANE)           \
  F_ROW(28, 29, W, V, 6, LANE) F_ROW(30, 31, W, V, 7, LANE)
#define F_START(S, T) "ldp q" #S ", q" #T ", [%[start]]\nadd %[start], %[start], %[start_stride]\n"
#define F_STARTS                                                                              \
  F_START(16, 17) F_START(18, 19) F_START(20, 21) F_START(22, 23)                             \
  F_START(24, 25) F_START(26, 27) F_START(28, 29) F_START(30, 31)
#define F_STORE(S, T) "stp q" #S ", q" #T ", [%[y]]\nadd %[y], %[y], %[y_stride]\n"
#define F_STORES                                                                              \
  F_STORE(16, 17) F_STORE(18, 19) F_STORE(20, 21) F_STORE(22, 23)                             \
  F_STORE(24, 25) F_STORE(26, 27) F_STORE(28, 29) F_STORE(30, 31)
#define F_OPERANDS                                                                            \
  : [x] "+r"(x), [w] "+r"(w), [n] "+r"(groups), [start] "+r"(start), [y] "+r"(y)              \
  : [start_stride] "r"(start_stride * 4), [y_stride] "r"(y_stride * 4)                        \
  : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "v0", "v1", "v2", "v3", "v4", "v5",     \
    "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18",    \
    "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",       \
    "v31", "cc", "memory"

// In LLVM's model of the Cortex-A53 an instruction completes no sooner than those before it, so
// that behind a product (10 cycles) a load of one register costs 5 cycles and one of four registers
// 2; ADD and the jump, 9 and half a cycle for each, stand together. A turn takes 8 numbers, of
// which the first four are left out once if their count is odd; the last four stand behind the
// loop. What is loaded: rows 4 to 7 and the third and fourth weights, the next first two weights
// and rows 0 to 3.
#define F_LOAD4(A, D, P) "ld1 {v" #A ".4s-v" #D ".4s}, [" #P "]\n"
#define F_STEPS(XB, WB, WA, XA)                                                               \
  F_LOAD4(4, 7, XB) F_UPPER(0, 8, 9) F_LOWER(0, 8, 9)                                         \
  F_LOAD4(12, 15, WB) F_UPPER(1, 10, 11) F_LOWER(1, 10, 11)                                   \
  WA F_UPPER(2, 12, 13) F_LOWER(2, 12, 13) F_UPPER(3, 14, 15)                                 \
  XA F_LOWER(3, 14, 15)
#define F_MOVE(P, OP) #OP " " #P ", " #P ", "
__attribute__((noinline)) void TileInFours(const float* x, const float* w, int64_t groups,
                                           const float* start, int64_t start_stride, float* y,
                                           int64_t y_stride) {
  asm volatile(
      F_LOAD4(0, 3, %[x]) F_LOAD4(8, 11, %[w])
      "add x4, %[x], #64\nadd x5, %[w], #64\nadd x6, %[w], #128\nadd x7, %[x], #128\n"
      "add x8, %[x], #192\nadd x9, %[w], #192\nadd x10, %[w], #256\nadd x11, %[x], #256\n"
      F_STARTS
      "subs %[n], %[n], #1\nb.eq 3f\n"
      "tbz %[n], #0, 1f\nadd %[n], %[n], #1\n"
      F_MOVE(x4, sub) "#128\n" F_MOVE(x5, sub) "#128\n" F_MOVE(x6, sub) "#128\n"
      F_MOVE(x7, sub) "#128\n" F_MOVE(x8, sub) "#128\n" F_MOVE(x9, sub) "#128\n"
      F_MOVE(x10, sub) "#128\n" F_MOVE(x11, sub) "#128\nb 2f\n"
      ".p2align 4\n1:\n"
      F_STEPS(x4, x5, F_LOAD4(8, 11, x6), F_LOAD4(0, 3, x7))
      "2:\n"
      F_STEPS(x8, x9, F_LOAD4(8, 11, x10), F_LOAD4(0, 3, x11))
      F_MOVE(x4, add) "#256\n" F_MOVE(x5, add) "#256\n" F_MOVE(x6, add) "#256\n"
      F_MOVE(x7, add) "#256\n" F_MOVE(x8, add) "#256\n" F_MOVE(x9, add) "#256\n"
      F_MOVE(x10, add) "#256\n" F_MOVE(x11, add) "#256\n"
      "subs %[n], %[n], #2\nb.ne 1b\n"
      "3:\n"
      F_STEPS(x4, x5, "", "") F_STORES
      F_OPERANDS);
}

// In that of the Cortex-A55, which starts two products in a cycle, a load takes the place of a
// product if it stands alone. A turn takes 4 numbers.
#define F_BETWEEN(LANE, W, V, X, S, T, LOAD) F_ONE(S, W, X, LANE) LOAD F_ONE(T, V, X, LANE)
#define F_LOADED(LANE, W, V, FIRST, SECOND)                                                   \
  F_ROW(16, 17, W, V, 0, LANE) F_ROW(18, 19, W, V, 1, LANE)                                   \
  F_BETWEEN(LANE, W, V, 2, 20, 21, FIRST) F_ROW(22, 23, W, V, 3, LANE)                        \
  F_ROW(24, 25, W, V, 4, LANE) F_BETWEEN(LANE, W, V, 5, 26, 27, SECOND)                       \
  F_ROW(28, 29, W, V, 6, LANE) F_ROW(30, 31, W, V, 7, LANE)
#define F_LAST(LANE, W, V, FIRST, SECOND)                                                     \
  F_ROW(16, 17, W, V, 0, LANE) F_X(0) F_ROW(18, 19, W, V, 1, LANE) F_X(1)                     \
  F_BETWEEN(LANE, W, V, 2, 20, 21, FIRST) F_X(2) F_ROW(22, 23, W, V, 3, LANE) F_X(3)          \
  F_ROW(24, 25, W, V, 4, LANE) F_X(4) F_BETWEEN(LANE, W, V, 5, 26, 27, SECOND) F_X(5)         \
  F_ROW(28, 29, W, V, 6, LANE) F_X(6) F_ROW(30, 31, W, V, 7, LANE) F_X(7)
#define F_X(R) "ldr q" #R ", [%[x], #" #R " * 16 + 128]\n"
#define F_W(R, AT) "ldr q" #R ", [%[w], #" #AT "]\n"
__attribute__((noinline)) void TileOneByOne(const float* x, const float* w, int64_t groups,
                                            const float* start, int64_t start_stride, float* y,
                                            int64_t y_stride) {
  asm volatile(
      "ldp q0, q1, [%[x]]\nldp q2, q3, [%[x], #32]\nldp q4, q5, [%[x], #64]\n"
      "ldp q6, q7, [%[x], #96]\nldp q8, q9, [%[w]]\nldp q10, q11, [%[w], #32]\n"
      "ldp q12, q13, [%[w], #64]\n" F_STARTS
      "subs %[n], %[n], #1\nb.eq 2f\n"
      ".p2align 4\n1:\n"
      F_LOADED(0, 8, 9, F_W(14, 96), F_W(15, 112))
      F_LOADED(1, 10, 11, F_W(8, 128), F_W(9, 144))
      F_LOADED(2, 12, 13, F_W(10, 160), F_W(11, 176))
      F_LAST(3, 14, 15, F_W(12, 192), F_W(13, 208))
      "add %[x], %[x], #128\nadd %[w], %[w], #128\nsubs %[n], %[n], #1\nb.ne 1b\n"
      "2:\n"
      F_LOADED(0, 8, 9, F_W(14, 96), F_W(15, 112)) F_UPPER(1, 10, 11) F_LOWER(1, 10, 11)
      F_UPPER(2, 12, 13) F_LOWER(2, 12, 13) F_UPPER(3, 14, 15) F_LOWER(3, 14, 15) F_STORES
      F_OPERANDS);
}
// clang-format on

#undef F_BETWEEN
#undef F_LAST
#undef F_LOAD4
#undef F_LOADED
#undef F_LOWER
#undef F_MOVE
#undef F_ONE
#undef F_OPERANDS
#undef F_ROW
#undef F_START
#undef F_STARTS
#undef F_STEPS
#undef F_STORE
#undef F_STORES
#undef F_UPPER
#undef F_W
#undef F_X
