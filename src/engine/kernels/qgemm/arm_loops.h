// The inner loops of arm_tile.h, part of its namespace. In assembly, since their order decides on
// cores that do not reorder (Cortex-A53 and A55): eight or more products are made between two that
// need each other, registers are loaded again when they have just been read, and pointers are
// moved together in one place: what takes less time than the product before it must wait for that,
// on cores that complete in order. A loop loads nothing beyond its end: what would be next is then
// the last again.
//
// bench/arm measures them by llvm-mca: it finds them in the compiled object.

#define SLIPWAY_VECTORS                                                                         \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",       \
      "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",       \
      "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory"
#define SLIPWAY_ZERO4(a, b, c, d)                                                               \
  "movi v" #a ".4s, #0\nmovi v" #b ".4s, #0\nmovi v" #c ".4s, #0\nmovi v" #d ".4s, #0\n"

#define SLIPWAY_MOVE(p, by) "add %[" #p "], %[" #p "], " by "\n"
#define SLIPWAY_W(q, at) "ldr q" #q ", [%[w], #" #at "]\n"
#define SLIPWAY_V(q, at) "ldr q" #q ", [%[v], #" #at "]\n"
#define SLIPWAY_COUNT "subs %[k], %[k], #8\n"
#define SLIPWAY_LAST "csel %[d], %[eight], xzr, ne\n"
#define SLIPWAY_MOVE_X01 SLIPWAY_MOVE(x0, "%[d]") SLIPWAY_MOVE(x1, "%[d]")
#define SLIPWAY_MOVE_X23 SLIPWAY_MOVE(x2, "%[d]") SLIPWAY_MOVE(x3, "%[d]")

#if !defined(__ARM_FEATURE_DOTPROD)

// A turn takes 8 codes of 4 rows, in two steps of two pairs each: of row m a pair in every lane pair
// of v(2 m), the next in v(2 m + 1). The second step's lie at y, those of the next turn at x + d,
// where d is 8, and 0 in the last turn. k counts what is left behind this turn.
#define SLIPWAY_LOAD(p, m, a, b) "ld2r {v" #a ".8h, v" #b ".8h}, [%[" #p #m "]]\n"

// Products in lanes of 16 bits: 8 columns, whose weights are in v8 and v9 (first and second pairs
// of the first step), v10 and v11. Other instructions go behind every second one: a, b, c, d.
#define SLIPWAY_LONG(op, s, t, w, x)                                                            \
  op " v" #s ".8h, v" #w ".8b, v" #x ".8b\n" op "2 v" #t ".8h, v" #w ".16b, v" #x ".16b\n"
#define SLIPWAY_FIRST(op, w) /* pairs */                                                        \
  SLIPWAY_LONG(op, 16, 17, w, 0)                                                                \
  SLIPWAY_LONG(op, 18, 19, w, 2) SLIPWAY_LONG(op, 20, 21, w, 4) SLIPWAY_LONG(op, 22, 23, w, 6)
#define SLIPWAY_SECOND(w, a, b, c, d)                                                           \
  SLIPWAY_LONG("smlal", 16, 17, w, 1)                                                           \
  a SLIPWAY_LONG("smlal", 18, 19, w, 3) b SLIPWAY_LONG("smlal", 20, 21, w, 5)                   \
  c SLIPWAY_LONG("smlal", 22, 23, w, 7) d
#define SLIPWAY_ADD2(type, from, s, t, u, v)                                                    \
  "sadalp v" #s "." type ", v" #t "." from "\nsadalp v" #u "." type ", v" #v "." from "\n"
#define SLIPWAY_WIDEN(a, b, c, d)                                                               \
  SLIPWAY_ADD2("4s", "8h", 24, 16, 25, 17)                                                      \
  a SLIPWAY_ADD2("4s", "8h", 26, 18, 27, 19) b SLIPWAY_ADD2("4s", "8h", 28, 20, 29, 21)         \
  c SLIPWAY_ADD2("4s", "8h", 30, 22, 31, 23) d
#define SLIPWAY_FOUR(f, p) f(SLIPWAY_LOAD(p, 0, 0, 1), SLIPWAY_LOAD(p, 1, 2, 3),                \
                             SLIPWAY_LOAD(p, 2, 4, 5), SLIPWAY_LOAD(p, 3, 6, 7))
#define SLIPWAY_ZERO_SUMS SLIPWAY_ZERO4(16, 17, 18, 19) SLIPWAY_ZERO4(20, 21, 22, 23)
#define SLIPWAY_BEGIN                                                                           \
  SLIPWAY_ZERO4(24, 25, 26, 27)                                                                 \
  SLIPWAY_ZERO4(28, 29, 30, 31) SLIPWAY_LOAD(x, 0, 0, 1) SLIPWAY_LOAD(x, 1, 2, 3)               \
  SLIPWAY_LOAD(x, 2, 4, 5) SLIPWAY_LOAD(x, 3, 6, 7)                                             \
  SLIPWAY_COUNT SLIPWAY_LAST SLIPWAY_W(8, 0) SLIPWAY_W(9, 16)
// Moves all pointers and loads weights, once a turn.
#define SLIPWAY_TURN                                                                            \
  SLIPWAY_MOVE(w, "%[d], lsl #3") SLIPWAY_COUNT SLIPWAY_MOVE_X01 SLIPWAY_MOVE_X23               \
  SLIPWAY_W(8, 0) SLIPWAY_MOVE(y0, "#8") SLIPWAY_W(9, 16) SLIPWAY_MOVE(y1, "#8")                \
  SLIPWAY_W(10, 32) SLIPWAY_MOVE(y2, "#8") SLIPWAY_LAST SLIPWAY_MOVE(y3, "#8")
#define SLIPWAY_STORE                                                                           \
  "stp q24, q25, [%[out]]\nstp q26, q27, [%[out], #32]\n"                                       \
  "stp q28, q29, [%[out], #64]\nstp q30, q31, [%[out], #96]\n"
#define SLIPWAY_OPERANDS                                                                        \
  [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), [x3] "+r"(x3), [y0] "+r"(y0), [y1] "+r"(y1),     \
      [y2] "+r"(y2), [y3] "+r"(y3), [w] "+r"(w), [k] "+r"(k), [d] "=&r"(d)
#define SLIPWAY_POINTERS                                                                        \
  const int8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3], *y0 = x0 + 4, *y1 = x1 + 4,      \
               *y2 = x2 + 4, *y3 = x3 + 4;                                                      \
  int64_t d;                                                                                    \
  const int64_t eight = 8;

// out: 4 rows by 8 columns of sums over k codes, a multiple of 8 and not 0.
__attribute__((noinline)) void LoopTwo(const int8_t* const* x, const int8_t* w, int64_t k,
                                       int32_t* out) {
  SLIPWAY_POINTERS
  asm volatile(
      SLIPWAY_BEGIN SLIPWAY_W(10, 32) SLIPWAY_W(11, 48)
      ".p2align 4\n1:\n"
      SLIPWAY_FIRST("smull", 8) SLIPWAY_SECOND(9, "", "", "", "")
      SLIPWAY_FOUR(SLIPWAY_WIDEN, y)
      SLIPWAY_FIRST("smull", 10)
      SLIPWAY_TURN
      SLIPWAY_SECOND(11, "", "", "", SLIPWAY_W(11, 48))
      SLIPWAY_FOUR(SLIPWAY_WIDEN, x)
      "b.pl 1b\n"
      SLIPWAY_STORE
      : SLIPWAY_OPERANDS
      : [out] "r"(out), [eight] "r"(eight)
      : SLIPWAY_VECTORS);
}

// Adds sums in lanes of 16 bits of up to `k` codes to out, 4 rows by 8 columns; k is a multiple of 8.
// All four pairs of row m lie in v(4 m) to v(4 m + 3), sums in v16 to v23, weights in v24 to v27.
#define SLIPWAY_ROW4(m, a, b) "ld4r {v" #a ".8h-v" #b ".8h}, [%[x" #m "]]\n"
#define SLIPWAY_PAIR(w, x0, x1, x2, x3, a, b, c, d)                                             \
  SLIPWAY_LONG("smlal", 16, 17, w, x0)                                                          \
  a SLIPWAY_LONG("smlal", 18, 19, w, x1) b SLIPWAY_LONG("smlal", 20, 21, w, x2)                 \
  c SLIPWAY_LONG("smlal", 22, 23, w, x3) d
#define SLIPWAY_FLUSH(at, a, b)                                                                 \
  "ldp q28, q29, [%[out], #" #at "]\nsadalp v28.4s, v" #a ".8h\nsadalp v29.4s, v" #b ".8h\n"    \
  "stp q28, q29, [%[out], #" #at "]\n"
__attribute__((noinline)) void LoopMany(const int8_t* const* x, const int8_t* w, int64_t k,
                                        int32_t* out) {
  const int8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
  int64_t d;
  const int64_t eight = 8;
  asm volatile(
      SLIPWAY_ZERO_SUMS
      SLIPWAY_ROW4(0, 0, 3) SLIPWAY_ROW4(1, 4, 7) SLIPWAY_ROW4(2, 8, 11) SLIPWAY_ROW4(3, 12, 15)
      SLIPWAY_COUNT SLIPWAY_LAST
      SLIPWAY_W(24, 0) SLIPWAY_W(25, 16) SLIPWAY_W(26, 32) SLIPWAY_W(27, 48)
      ".p2align 4\n1:\n"
      SLIPWAY_PAIR(24, 0, 4, 8, 12, "", "", "", "")
      SLIPWAY_PAIR(25, 1, 5, 9, 13, "", "", "", "")
      SLIPWAY_PAIR(26, 2, 6, 10, 14, "", "", "",
                   SLIPWAY_MOVE(w, "%[d], lsl #3") SLIPWAY_COUNT SLIPWAY_MOVE_X01
                   SLIPWAY_MOVE_X23 SLIPWAY_W(24, 0) SLIPWAY_LAST SLIPWAY_W(25, 16)
                   SLIPWAY_W(26, 32))
      SLIPWAY_PAIR(27, 3, 7, 11, 15, SLIPWAY_ROW4(0, 0, 3), SLIPWAY_ROW4(1, 4, 7),
                   SLIPWAY_ROW4(2, 8, 11), SLIPWAY_ROW4(3, 12, 15) SLIPWAY_W(27, 48))
      "b.pl 1b\n"
      SLIPWAY_FLUSH(0, 16, 17) SLIPWAY_FLUSH(32, 18, 19) SLIPWAY_FLUSH(64, 20, 21)
      SLIPWAY_FLUSH(96, 22, 23)
      : [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), [x3] "+r"(x3), [w] "+r"(w), [k] "+r"(k),
        [d] "=&r"(d)
      : [out] "r"(out), [eight] "r"(eight)
      : SLIPWAY_VECTORS);
}

// Products in lanes of 8 bits: 16 columns, sums of the first 8 in v16 to v19 and of the others in
// v20 to v23; weights in v8 to v11 (first pairs at w and v, second pairs) and v12 to v15.
#define SLIPWAY_BYTES(op, s, t, w, v, x)                                                        \
  op " v" #s ".16b, v" #w ".16b, v" #x ".16b\n" op " v" #t ".16b, v" #v ".16b, v" #x ".16b\n"
#define SLIPWAY_BYTES_FIRST(op, w, v)                                                           \
  SLIPWAY_BYTES(op, 16, 20, w, v, 0)                                                            \
  SLIPWAY_BYTES(op, 17, 21, w, v, 2) SLIPWAY_BYTES(op, 18, 22, w, v, 4)                         \
  SLIPWAY_BYTES(op, 19, 23, w, v, 6)
#define SLIPWAY_BYTES_SECOND(w, v, a, b, c, d)                                                  \
  SLIPWAY_BYTES("mla", 16, 20, w, v, 1)                                                         \
  a SLIPWAY_BYTES("mla", 17, 21, w, v, 3) b SLIPWAY_BYTES("mla", 18, 22, w, v, 5)               \
  c SLIPWAY_BYTES("mla", 19, 23, w, v, 7) d
#define SLIPWAY_BYTES_WIDEN(a, b, c, d)                                                         \
  SLIPWAY_ADD2("8h", "16b", 24, 16, 28, 20)                                                     \
  a SLIPWAY_ADD2("8h", "16b", 25, 17, 29, 21) b SLIPWAY_ADD2("8h", "16b", 26, 18, 30, 22)       \
  c SLIPWAY_ADD2("8h", "16b", 27, 19, 31, 23) d
#define SLIPWAY_BYTES_BEGIN                                                                     \
  SLIPWAY_BEGIN SLIPWAY_V(9, 0) SLIPWAY_W(10, 16) SLIPWAY_V(11, 16) SLIPWAY_W(12, 32)           \
  SLIPWAY_V(13, 32) SLIPWAY_W(14, 48) SLIPWAY_V(15, 48)
#define SLIPWAY_BYTES_TURN                                                                      \
  SLIPWAY_MOVE(w, "%[d], lsl #3") SLIPWAY_MOVE(v, "%[d], lsl #3")                               \
  SLIPWAY_COUNT SLIPWAY_MOVE_X01 SLIPWAY_MOVE(x2, "%[d]")                                       \
  SLIPWAY_W(8, 0) SLIPWAY_MOVE(x3, "%[d]") SLIPWAY_V(9, 0) SLIPWAY_MOVE(y0, "#8")               \
  SLIPWAY_W(10, 16) SLIPWAY_MOVE(y1, "#8") SLIPWAY_V(11, 16) SLIPWAY_MOVE(y2, "#8")             \
  SLIPWAY_W(12, 32) SLIPWAY_MOVE(y3, "#8") SLIPWAY_V(13, 32) SLIPWAY_LAST
#define SLIPWAY_BYTES_LATE SLIPWAY_W(14, 48) SLIPWAY_V(15, 48)

// out: [2][4][8] sums over k codes. Two products share a lane of 8 bits.
__attribute__((noinline)) void LoopBytes2(const int8_t* const* x, const int8_t* w,
                                          const int8_t* v, int64_t k, int16_t* out) {
  SLIPWAY_POINTERS
  asm volatile(
      SLIPWAY_BYTES_BEGIN
      ".p2align 4\n1:\n"
      SLIPWAY_BYTES_FIRST("mul", 8, 9) SLIPWAY_BYTES_SECOND(10, 11, "", "", "", "")
      SLIPWAY_FOUR(SLIPWAY_BYTES_WIDEN, y)
      SLIPWAY_BYTES_FIRST("mul", 12, 13)
      SLIPWAY_BYTES_TURN
      SLIPWAY_BYTES_SECOND(14, 15, "", "", "", SLIPWAY_BYTES_LATE)
      SLIPWAY_FOUR(SLIPWAY_BYTES_WIDEN, x)
      "b.pl 1b\n"
      SLIPWAY_STORE
      : SLIPWAY_OPERANDS, [v] "+r"(v)
      : [out] "r"(out), [eight] "r"(eight)
      : SLIPWAY_VECTORS);
}
#define SLIPWAY_HERE(a, b, c, d) SLIPWAY_BYTES_SECOND(10, 11, a, b, c, d)
#define SLIPWAY_THERE(a, b, c, d) SLIPWAY_BYTES_SECOND(14, 15, a, b, c, d SLIPWAY_BYTES_LATE)
#define SLIPWAY_BYTES_8(op, extra)                                                              \
  SLIPWAY_BYTES_FIRST(op, 8, 9) SLIPWAY_FOUR(SLIPWAY_HERE, y)                                   \
  SLIPWAY_BYTES_FIRST("mla", 12, 13) SLIPWAY_BYTES_TURN extra SLIPWAY_FOUR(SLIPWAY_THERE, x)
// Four do; k is a multiple of 16.
__attribute__((noinline)) void LoopBytes4(const int8_t* const* x, const int8_t* w,
                                          const int8_t* v, int64_t k, int16_t* out) {
  SLIPWAY_POINTERS
  asm volatile(
      SLIPWAY_BYTES_BEGIN
      ".p2align 4\n1:\n"
      SLIPWAY_BYTES_8("mul", "") SLIPWAY_BYTES_WIDEN("", "", "", "")
      SLIPWAY_BYTES_8("mul", "") SLIPWAY_BYTES_WIDEN("", "", "", "")
      "b.pl 1b\n"
      SLIPWAY_STORE
      : SLIPWAY_OPERANDS, [v] "+r"(v)
      : [out] "r"(out), [eight] "r"(eight)
      : SLIPWAY_VECTORS);
}
// `group` / 2 do; k and group are multiples of 16.
__attribute__((noinline)) void LoopBytesMany(const int8_t* const* x, const int8_t* w,
                                             const int8_t* v, int64_t k, int64_t group,
                                             int16_t* out) {
  SLIPWAY_POINTERS
  int64_t now;
  asm volatile(
      SLIPWAY_BYTES_BEGIN
      "2:\n" SLIPWAY_ZERO_SUMS
      "add %[now], %[k], #8\ncmp %[now], %[group]\ncsel %[now], %[now], %[group], lt\n"
      ".p2align 4\n1:\n"
      SLIPWAY_BYTES_8("mla", "") SLIPWAY_BYTES_8("mla", "sub %[now], %[now], #16\n")
      "cbnz %[now], 1b\n"
      SLIPWAY_BYTES_WIDEN("", "", "", "")
      "tbz %[k], #63, 2b\n"
      SLIPWAY_STORE
      : SLIPWAY_OPERANDS, [v] "+r"(v), [now] "=&r"(now)
      : [out] "r"(out), [group] "r"(group), [eight] "r"(eight)
      : SLIPWAY_VECTORS);
}
#undef SLIPWAY_HERE
#undef SLIPWAY_THERE

#elif !defined(__ARM_FEATURE_MATMUL_INT8)

// out: 4 rows by 16 columns of sums over k codes, a multiple of 16. Sums in v16 to v31, 16 codes of
// a row in v0 to v3; weights of 4 codes in v4 to v7 and v8 to v11 in turn.
#define SLIPWAY_DOT4(lane, x, a, b, c, d, s, t, u, v)                                           \
  "sdot v" #a ".4s, v" #s ".16b, v" #x ".4b[" #lane "]\n"                                       \
  "sdot v" #b ".4s, v" #t ".16b, v" #x ".4b[" #lane "]\n"                                       \
  "sdot v" #c ".4s, v" #u ".16b, v" #x ".4b[" #lane "]\n"                                       \
  "sdot v" #d ".4s, v" #v ".16b, v" #x ".4b[" #lane "]\n"
#define SLIPWAY_LANE(lane, s, t, u, v, middle, end)                                             \
  SLIPWAY_DOT4(lane, 0, 16, 17, 18, 19, s, t, u, v)                                             \
  SLIPWAY_DOT4(lane, 1, 20, 21, 22, 23, s, t, u, v)                                             \
  middle SLIPWAY_DOT4(lane, 2, 24, 25, 26, 27, s, t, u, v)                                      \
  SLIPWAY_DOT4(lane, 3, 28, 29, 30, 31, s, t, u, v) end
#define SLIPWAY_ROW(m) "ldr q" #m ", [%[x" #m "]]\n"
#define SLIPWAY_ODD(at, b, c, d)                                                                \
  SLIPWAY_W(8, at) SLIPWAY_W(9, b) SLIPWAY_W(10, c) SLIPWAY_W(11, d)
__attribute__((noinline)) void LoopDot(const int8_t* const* x, const int8_t* w, int64_t k,
                                       int32_t* out) {
  const int8_t *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
  int64_t d;
  const int64_t eight = 16;
  asm volatile(
      SLIPWAY_ZERO4(16, 17, 18, 19) SLIPWAY_ZERO4(20, 21, 22, 23) SLIPWAY_ZERO4(24, 25, 26, 27)
      SLIPWAY_ZERO4(28, 29, 30, 31) SLIPWAY_ROW(0) SLIPWAY_ROW(1) SLIPWAY_ROW(2) SLIPWAY_ROW(3)
      "subs %[k], %[k], #16\n" SLIPWAY_LAST
      SLIPWAY_W(4, 0) SLIPWAY_W(5, 16) SLIPWAY_W(6, 32) SLIPWAY_W(7, 48)
      ".p2align 4\n1:\n"
      SLIPWAY_LANE(0, 4, 5, 6, 7, SLIPWAY_ODD(64, 80, 96, 112), "")
      SLIPWAY_LANE(1, 8, 9, 10, 11,
                   SLIPWAY_W(4, 128) SLIPWAY_W(5, 144) SLIPWAY_W(6, 160) SLIPWAY_W(7, 176), "")
      SLIPWAY_LANE(2, 4, 5, 6, 7, SLIPWAY_ODD(192, 208, 224, 240), "")
      SLIPWAY_LANE(3, 8, 9, 10, 11,
                   SLIPWAY_MOVE(w, "%[d], lsl #4") "subs %[k], %[k], #16\n" SLIPWAY_MOVE_X01
                   SLIPWAY_MOVE_X23 SLIPWAY_W(4, 0) SLIPWAY_LAST SLIPWAY_W(5, 16)
                   SLIPWAY_W(6, 32) SLIPWAY_W(7, 48) SLIPWAY_ROW(0) SLIPWAY_ROW(1),
                   SLIPWAY_ROW(2) SLIPWAY_ROW(3))
      "b.pl 1b\n"
      "stp q16, q17, [%[out]]\nstp q18, q19, [%[out], #32]\n"
      "stp q20, q21, [%[out], #64]\nstp q22, q23, [%[out], #96]\n"
      "stp q24, q25, [%[out], #128]\nstp q26, q27, [%[out], #160]\n"
      "stp q28, q29, [%[out], #192]\nstp q30, q31, [%[out], #224]\n"
      : [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), [x3] "+r"(x3), [w] "+r"(w), [k] "+r"(k),
        [d] "=&r"(d)
      : [out] "r"(out), [eight] "r"(eight)
      : SLIPWAY_VECTORS);
}

#endif
