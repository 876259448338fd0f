// Calls of RNN, GRU and LSTM. One direction of one sequence at a time, so that the working memory
// holds the gates of one step and not of all.

#include <array>
#include <cstring>
#include <iterator>
#include <map>
#include <string_view>

#include "engine/backends/csource/source.h"
#include "engine/backends/csource/writer.h"
#include "model/ops/recurrent.h"

namespace slipway::backends::csource {
namespace {

// Bodies of cells: @Q multiplies with R, @J are the elements of one of its rows, @R and @K the
// arguments of its scales from the first row on and from that of the third gate, if it has any.
constexpr char kRnn[] = R"(@Q(width, n, rd, @Rh, 1, u);
          for (i = 0; i < n; ++i) h[i] = sw_gate(r, f, v[i] + u[i]);)";

// Gates z r h. With linear_before_reset the hidden state's part of h is multiplied by r, else the
// state itself, which is then in c.
constexpr char kGru[] = R"(@Q(r->variant ? width : 2 * n, n, rd, @Rh, 1, u);
          if (!r->variant) {
            for (i = 0; i < n; ++i) c[i] = sw_gate(r, f, v[n + i] + u[n + i]) * h[i];
            @Q(n, n, rd + 2 * n * @J, @Kc, 1, u + 2 * n);
          }
          for (i = 0; i < n; ++i) {
            const float z = sw_gate(r, f, v[i] + u[i]);
            float candidate = u[2 * n + i];
            if (r->variant) candidate = sw_gate(r, f, v[n + i] + u[n + i]) * (candidate + (bd ? bd[width + 2 * n + i] : 0.0f));
            candidate = sw_gate(r, f + 1, v[2 * n + i] + candidate);
            h[i] = (1.0f - z) * candidate + z * h[i];
          })";

// Gates i o f c, peepholes i o f.
constexpr char kLstm[] = R"(@Q(width, n, rd, @Rh, 1, u);
          for (i = 0; i < n; ++i) {
            const float old = c[i];
            const float in = sw_gate(r, f, v[i] + u[i] + (pd ? pd[i] * old : 0.0f));
            const float keep = r->variant ? 1.0f - in : sw_gate(r, f, v[2 * n + i] + u[2 * n + i] + (pd ? pd[2 * n + i] * old : 0.0f));
            const float now = keep * old + in * sw_gate(r, f + 1, v[3 * n + i] + u[3 * n + i]);
            c[i] = now;
            h[i] = sw_gate(r, f, v[n + i] + u[n + i] + (pd ? pd[n + i] * now : 0.0f)) * sw_gate(r, f + 2, now);
          })";

struct Cell {
  const char *op, *name, *body;
  int64_t gates, functions;
  const char* rows;  // whose hidden bias is simply added
};
constexpr Cell kCells[] = {
    {"RNN", "rnn", kRnn, 1, 1, "width"},
    {"GRU", "gru", kGru, 3, 2, "(r->variant ? 2 * n : width)"},
    {"LSTM", "lstm", kLstm, 4, 3, "width"},
};

std::string Filled(std::string text, const std::map<std::string, std::string>& places) {
  for (const auto& [place, value] : places) {
    for (size_t at = 0; (at = text.find(place, at)) != std::string::npos; at += value.size())
      text.replace(at, place.size(), value);
  }
  return text;
}

// Weights as C has them: what `codes` says where the package has codes, else floats.
struct Matrix {
  std::string type = "float", project = "project", row, array, scales;
};
Matrix MatrixOf(SourceWriter& w, size_t input, int64_t rows, const std::string& columns) {
  const format::PackageTensor& t = w.In(input);
  Matrix m;
  m.row = columns;
  const bool packed = t.code_bits == 4;
  // The scales may be of several rows each, which must begin with bytes all the same.
  const size_t given = t.code_rows, all = static_cast<size_t>(rows);
  if (t.code_bits == 0 || all % given != 0 ||
      (packed && all != given && w.Shape(t).back() % 2 != 0)) {
    m.array = w.Input(input);
    return m;
  }
  const size_t scales = given * sizeof(float);
  std::vector<float> values(all);
  for (size_t i = 0; i < all; ++i)
    std::memcpy(&values[i], t.coded.data() + i / (all / given) * sizeof(float), sizeof(float));
  m.scales = w.FloatArray(values);
  m.array = w.ByteArray(t.coded.subspan(scales), !packed);
  m.type = packed ? "uint8_t" : "int8_t";
  if (packed) m.row = "((" + columns + " + 1) / 2)";
  m.project = packed ? "project4" : "project8";
  return m;
}

const Cell* FindCell(std::string_view op) {
  for (const Cell& c : kCells) {
    if (op == c.op) return &c;
  }
  return nullptr;
}

struct Function {
  const char* name;
  bool alpha, beta;
  float default_alpha, default_beta;
};
// In the order of sw_gate.
constexpr Function kFunctions[] = {
    {"sigmoid", false, false, 0, 0},      {"tanh", false, false, 0, 0},
    {"relu", false, false, 0, 0},         {"affine", true, true, 1, 0},
    {"leakyrelu", true, false, 0.01f, 0}, {"thresholdedrelu", true, false, 1, 0},
    {"scaledtanh", true, true, 1, 1},     {"hardsigmoid", true, true, 0.2f, 0.5f},
    {"elu", true, false, 1, 0},           {"softsign", false, false, 0, 0},
    {"softplus", false, false, 0, 0},
};

// The fields kind, a and b of sw_recurrent.
Result<std::string> Functions(const SourceWriter& w, const Cell& cell, int64_t directions) {
  const auto& attributes = w.op.attributes;
  std::vector<std::string> names;
  if (const auto* found = attributes.Find("activations")) {
    if (const auto* list = std::get_if<std::vector<std::string>>(found)) names = *list;
  }
  const auto alphas = attributes.Floats("activation_alpha"),
             betas = attributes.Floats("activation_beta");
  const auto each = static_cast<size_t>(cell.functions),
             want = each * static_cast<size_t>(directions);
  if (!names.empty() && names.size() != want)
    return InvalidArgument("activations that do not fit the directions");
  std::array<int64_t, 6> kind{};
  std::array<float, 6> a{}, b{};
  size_t alpha = 0, beta = 0;
  for (size_t i = 0; i < want; ++i) {
    const bool gate = each > 1 && i % each == 0;
    std::string name = names.empty() ? (gate ? "sigmoid" : "tanh") : names[i];
    for (char& c : name) c = static_cast<char>(c | 0x20);
    const Function* f = nullptr;
    for (const Function& known : kFunctions) {
      if (name == known.name) f = &known;
    }
    if (!f) return Unsupported("the activation '" + name + "'");
    const size_t at = i / each * 3 + i % each;
    kind[at] = f - kFunctions;
    a[at] = f->alpha && alpha < alphas.size() ? alphas[alpha++] : f->default_alpha;
    b[at] = f->beta && beta < betas.size() ? betas[beta++] : f->default_beta;
  }
  return List(kind) + ", " + List(a) + ", " + List(b);
}

Status Recurrent(SourceWriter& w) {
  const Cell& cell = *FindCell(w.op.op);
  const Dims x = w.Shape(w.In(0)), r = w.Shape(w.In(2));
  const auto& a = w.op.attributes;
  for (size_t i = 0; i < w.step->inputs.size(); ++i) {
    const DType want = i == 4 ? DType::kInt32 : DType::kFloat32;
    if (w.Has(i) && w.In(i).dtype != want)
      return Unsupported(w.op.op + " with " + DTypeName(w.In(i).dtype) + " as input " +
                         std::to_string(i));
  }
  const bool batch_first = a.Int("layout", 0) != 0;
  const std::string_view direction = a.String("direction", "forward");
  const int64_t steps = x[batch_first ? 1 : 0], batch = x[batch_first ? 0 : 1], hidden = r[2],
                directions = direction == "bidirectional" ? 2 : 1, width = cell.gates * hidden;
  const int64_t states = directions * batch * hidden;
  const int64_t counts[] = {x.count(),
                            directions * width * x[2],
                            directions * width * hidden,
                            directions * 2 * width,
                            batch,
                            states,
                            states,
                            directions * 3 * hidden};
  for (size_t i = 1; i < std::size(counts); ++i) {
    if (w.Has(i) && w.Shape(w.In(i)).count() != counts[i])
      return InvalidArgument("input " + std::to_string(i) + " that does not fit");
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::string functions, Functions(w, cell, directions));
  const bool variant = a.Int(cell.gates == 3 ? "linear_before_reset" : "input_forget", 0) != 0;
  const Matrix in = MatrixOf(w, 1, directions * width, "r->input"),
               state = MatrixOf(w, 2, directions * width, "n");
  std::map<std::string, std::string> places = {{"@+", in.project + " " + state.project},
                                               {"@G", std::to_string(cell.gates)},
                                               {"@B", cell.rows},
                                               {"@T", in.type},
                                               {"@I", in.row},
                                               {"@P", "sw_" + in.project},
                                               {"@U", state.type},
                                               {"@J", state.row},
                                               {"@A", ""},
                                               {"@D", ""},
                                               {"@S", ""},
                                               {"@E", ""},
                                               {"@F", ""}};
  std::map<std::string, std::string> in_cell = {
      {"@Q", "sw_" + state.project}, {"@J", state.row}, {"@R", ""}, {"@K", ""}};
  if (!in.scales.empty()) {
    places["@A"] = "const float* ws, ";
    places["@D"] = "\n    const float* sd = ws + d * width;";
    places["@S"] = "sd, ";
  }
  if (!state.scales.empty()) {
    places["@E"] = "const float* us, ";
    places["@F"] = "\n    const float* td = us + d * width;";
    in_cell["@R"] = "td, ";
    in_cell["@K"] = "td + 2 * n, ";
  }
  places["@C"] = Filled(cell.body, in_cell);
  const std::string name = w.Instance("recurrent", cell.name, places);
  std::vector<std::string> arguments = {
      w.Struct("sw_recurrent",
               Number(steps) + ", " + Number(batch) + ", " + Number(x[2]) + ", " + Number(hidden) +
                   ", " + Number(directions) + ", " + (batch_first ? "1, " : "0, ") +
                   (direction == "reverse" ? "1, " : "0, ") + (variant ? "1, " : "0, ") +
                   Number(a.Float("clip", 0)) + ", " + functions),
      w.Input(0),
      in.array,
      state.array,
      w.Input(3),
      w.Input(4),
      w.Input(5),
      w.Input(6),
      w.Input(7)};
  for (const Matrix* m : {&in, &state}) {
    if (!m->scales.empty()) arguments.push_back(m->scales);
  }
  for (std::string last : {w.Workspace("float"), w.Output(0), w.Output(1), w.Output(2)})
    arguments.push_back(std::move(last));
  w.Call(name, arguments);
  return OkStatus();
}

constexpr Row kRows[] = {{"", "RNN", Recurrent}, {"", "GRU", Recurrent}, {"", "LSTM", Recurrent}};

}  // namespace

std::span<const Row> RecurrentRows() { return kRows; }

uint64_t WorkspaceBytes(const ir::Node& node) {
  if (node.Is("Attention")) {  // the scores of one query
    const auto length = [&](size_t i) {
      if (!node.input(i)) return int64_t{0};
      const SymShape& shape = *node.input(i)->type().shape;
      return shape[shape.size() == 4 ? 2 : 1].value();
    };
    return static_cast<uint64_t>(length(1) + length(4)) * sizeof(float);
  }
  const Cell* cell = node.domain().empty() ? FindCell(node.op()) : nullptr;
  if (!cell) return 0;
  const SymShape& r = *node.input(2)->type().shape;
  const int64_t hidden = r[2].value();
  return static_cast<uint64_t>((2 * cell->gates + 2) * hidden) * sizeof(float);
}

}  // namespace slipway::backends::csource
