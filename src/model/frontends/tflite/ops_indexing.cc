// Gather, scatter, search, sequences, and matrix products of two computed operands.

#include <algorithm>

#include "model/frontends/tflite/builder.h"
#include "model/ir/schema.h"

namespace slipway::tflite {
namespace {

using B = fb::BuiltinOperator;

void Gather(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_GatherOptions());
  const bool codes = op.MovesCodes();
  Value *x = op.Data(0, codes), *indices = op.Raw(1);
  const int rank = op.b.Rank(x), of_indices = op.b.Rank(indices);
  if (rank < 0 || of_indices < 0) return;
  const int64_t axis = op.Axis(o.axis(), rank);
  const int64_t batch = o.batch_dims() < 0 ? o.batch_dims() + of_indices : o.batch_dims();
  if (op.b.failed()) return;
  if (batch == 0) return op.SetData(op.b.Emit("Gather", {x, indices}, {{"axis", axis}}), codes);
  if (batch != axis || batch > of_indices || batch < 0)
    return op.Unsupported("batch_dims = " + std::to_string(o.batch_dims()) + " with axis " +
                          std::to_string(axis) + " is not supported; they must be equal");
  Value* single = op.b.Emit("Unsqueeze", {op.b.Cast(indices, DType::kInt64), op.b.Int64s({-1})});
  op.SetData(op.b.Emit("GatherND", {x, single}, {{"batch_dims", batch}}), codes);
}

// Inputs: indices, table.
void EmbeddingLookup(Op& op) {
  op.SetReal(op.b.Emit("Gather", {op.Real(1), op.Raw(0)}, {{"axis", int64_t{0}}}));
}

void GatherNd(Op& op) {
  const bool codes = op.MovesCodes();
  op.SetData(op.b.Emit("GatherND", {op.Data(0, codes), op.Int64(1)}), codes);
}

// Inputs: indices, updates, shape. Elements that several indices name are added.
void ScatterNd(Op& op) {
  Value *indices = op.Int64(0), *updates = op.Real(1), *shape = op.Int64(2);
  if (op.b.failed()) return;
  Value* zeros = op.b.Emit("Expand", {op.b.ScalarLike(updates, 0), shape});
  op.SetReal(
      op.b.Emit("ScatterND", {zeros, indices, updates}, {{"reduction", std::string("add")}}));
}

// Inputs: indices, depth, on, off. An index outside [0, depth) gives a row of `off`, also a
// negative one.
void OneHot(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_OneHotOptions());
  Value *indices = op.Int64(0), *depth = op.Int64(1), *on = op.Real(2), *off = op.Real(3);
  const int rank = op.b.Rank(indices);
  if (rank < 0 || op.b.failed()) return;
  const int64_t axis = op.Axis(o.axis(), rank + 1);
  Value* scalar = op.b.Emit("Reshape", {depth, op.b.Int64s({})});
  Value* inside =
      op.b.Emit("Where", {op.b.Emit("Less", {indices, op.b.Int64s({0})}), scalar, indices});
  if (rank == 0) inside = op.b.Emit("Reshape", {inside, op.b.Int64s({})});
  auto flat = [&](Value* v) { return op.b.Emit("Reshape", {v, op.b.Int64s({1})}); };
  Value* values = op.b.Emit("Concat", {flat(off), flat(on)}, {{"axis", int64_t{0}}});
  op.SetReal(op.b.Emit("OneHot", {inside, scalar, values}, {{"axis", axis}}));
}

void TopK(Op& op) {
  const int32_t values = op.out_index(0), indices = op.out_index(1);
  const bool codes = op.b.IsQuantized(op.in_index(0)) && op.b.IsQuantized(values) &&
                     op.in(0).quantization == op.out(0).quantization;
  Value* x = codes ? op.Raw(0) : op.Real(0);
  Value* k = op.b.Emit("Reshape", {op.Int64(1), op.b.Int64s({1})});
  if (op.b.failed()) return;
  const auto made = op.b.EmitMany("TopK", {x, k}, {{"axis", int64_t{-1}}}, 2);
  codes ? op.SetRaw(made[0], 0) : op.SetReal(made[0], 0);
  op.SetRaw(op.b.Cast(made[1], op.b.tensor(indices).dtype), 1);
}

void ArgReduce(Op& op) {
  Value* x = op.Raw(0);
  const int64_t axis = op.Axis(op.ConstInt(1, "the axis"), op.b.Rank(x));
  if (op.b.failed()) return;
  // In reals, kernels of codes are no requirement.
  if (op.b.IsQuantized(op.in_index(0))) x = op.Real(0);
  const char* name = op.info.code == B::ARG_MAX ? "ArgMax" : "ArgMin";
  Value* y = op.b.Emit(name, {x}, {{"axis", axis}, {"keepdims", int64_t{0}}});
  op.SetRaw(op.b.Cast(y, op.out().dtype));
}

void Cumsum(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_CumsumOptions());
  Value* axis = op.b.Emit("Reshape", {op.Int64(1), op.b.Int64s({})});
  op.SetReal(op.b.Emit("CumSum", {op.Real(0), axis},
                       {{"exclusive", int64_t{o.exclusive()}}, {"reverse", int64_t{o.reverse()}}}));
}

// Where a boolean (or number) is not zero: the indices, one a row.
void Where(Op& op) {
  Value* indices = op.b.Emit("NonZero", {op.Raw(0)});
  op.SetRaw(op.b.Cast(op.b.Emit("Transpose", {indices}, {{"perm", Ints{1, 0}}}), op.out().dtype));
}

void ReverseSequence(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_ReverseSequenceOptions());
  const bool codes = op.MovesCodes();
  Value *x = op.Data(0, codes), *lengths = op.Int64(1);
  const int rank = op.b.Rank(x);
  const int64_t time = op.Axis(o.seq_dim(), rank), batch = op.Axis(o.batch_dim(), rank);
  if (op.b.failed()) return;
  if (time == batch) return op.Invalid("the sequence and batch dimensions are one");
  // The operator knows the first two dimensions only.
  Ints perm = {time, batch}, back(static_cast<size_t>(rank));
  for (int64_t i = 0; i < rank; ++i) {
    if (i != time && i != batch) perm.push_back(i);
  }
  for (size_t i = 0; i < perm.size(); ++i)
    back[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  Value* y = op.b.Emit("ReverseSequence", {op.b.Transpose(x, perm), lengths},
                       {{"time_axis", int64_t{0}}, {"batch_axis", int64_t{1}}});
  op.SetData(op.b.Emit("Transpose", {y}, {{"perm", back}}), codes);
}

Value* Adjoint(Op& op, Value* v, bool adjoint) {
  if (!adjoint) return v;
  const int rank = op.b.Rank(v);
  if (rank < 2) {
    op.Invalid("its operands must have two dimensions at least");
    return v;
  }
  Ints perm;
  for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return op.b.Transpose(v, perm);
}

void BatchMatMul(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_BatchMatMulOptions());
  Value *x = Adjoint(op, op.Real(0), o.adj_x()), *y = Adjoint(op, op.Real(1), o.adj_y());
  if (op.b.failed()) return;
  op.SetReal(op.b.Emit("MatMul", {x, y}));
}

// rows x columns booleans, true on the diagonal.
Value* Eye(Op& op, int64_t rows, int64_t columns) {
  auto t = rows <= 1 << 14 && columns <= 1 << 14
               ? Tensor::Allocate(DType::kBool, {rows, columns})
               : Result<Tensor>(ResourceExhausted("the matrix is too large"));
  if (!t.ok()) {
    op.b.Fail(t.status());
    return op.b.Float(0);
  }
  for (int64_t i = 0; i < t->count(); ++i) t->mutable_data()[i] = i / columns == i % columns;
  return op.b.Constant(std::move(*t));
}

void MatrixDiag(Op& op) {
  Value* x = op.Real(0);
  const int rank = op.b.Rank(x);
  if (rank < 1) return op.Invalid("the input must have one dimension at least");
  const auto n = op.b.Extent(x, static_cast<size_t>(rank - 1));
  if (!n || *n < 1) return op.Unsupported("the last dimension must be known");
  Value* eye = Eye(op, *n, *n);
  if (op.b.failed()) return;
  Value* column = op.b.Emit("Unsqueeze", {x, op.b.Int64s({-1})});
  op.SetReal(op.b.Emit("Where", {eye, column, op.b.ScalarLike(x, 0)}));
}

void MatrixSetDiag(Op& op) {
  Value *x = op.Real(0), *diagonal = op.Real(1);
  const int rank = op.b.Rank(x);
  if (rank < 2) return op.Invalid("the input must have two dimensions at least");
  const auto rows = op.b.Extent(x, static_cast<size_t>(rank - 2)),
             columns = op.b.Extent(x, static_cast<size_t>(rank - 1));
  if (!rows || !columns || *rows < 1 || *columns < 1)
    return op.Unsupported("the last two dimensions must be known");
  Value* eye = Eye(op, *rows, *columns);
  if (op.b.failed()) return;
  // The diagonal has min(rows, columns) elements: it lies along that side and repeats over the
  // other.
  Value* along = op.b.Emit("Unsqueeze", {diagonal, op.b.Int64s({*rows <= *columns ? -1 : -2})});
  op.SetReal(op.b.Emit("Where", {eye, along, x}));
}

// Inputs: indices, shape, values, default.
void SparseToDense(Op& op) {
  Value *indices = op.Int64(0), *shape = op.Int64(1), *values = op.Real(2), *fill = op.Real(3);
  int rank = op.b.Rank(indices);
  if (rank < 0 || op.b.failed()) return;
  if (rank == 0) indices = op.b.Emit("Reshape", {indices, op.b.Int64s({1, 1})});
  if (rank == 1) indices = op.b.Emit("Unsqueeze", {indices, op.b.Int64s({-1})});
  const auto count = op.b.Extent(indices, 0);
  if (op.b.Rank(values) == 0) {
    if (!count) return op.Unsupported("one value for indices of unknown number is not supported");
    values = op.b.Emit("Expand", {values, op.b.Int64s({*count})});
  }
  Value* dense = op.b.Emit("Expand", {fill, shape});
  op.SetReal(op.b.Emit("ScatterND", {dense, indices, values}));
}

}  // namespace

void AddIndexing(HandlerTable* table) {
  auto& t = *table;
  t[B::GATHER] = &Gather;
  t[B::EMBEDDING_LOOKUP] = &EmbeddingLookup;
  t[B::GATHER_ND] = &GatherNd;
  t[B::SCATTER_ND] = &ScatterNd;
  t[B::ONE_HOT] = &OneHot;
  t[B::TOPK_V2] = &TopK;
  t[B::ARG_MAX] = &ArgReduce;
  t[B::ARG_MIN] = &ArgReduce;
  t[B::CUMSUM] = &Cumsum;
  t[B::BATCH_MATMUL] = &BatchMatMul;
  t[B::MATRIX_DIAG] = &MatrixDiag;
  t[B::MATRIX_SET_DIAG] = &MatrixSetDiag;
  t[B::SPARSE_TO_DENSE] = &SparseToDense;
  // As soon as the table of operators has what they become.
  if (ir::FindOp("", "NonZero")) t[B::WHERE] = &Where;
  if (ir::FindOp("", "ReverseSequence")) t[B::REVERSE_SEQUENCE] = &ReverseSequence;
}

}  // namespace slipway::tflite
