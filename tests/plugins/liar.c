/* A plugin with the operators liar.Double ([...] float32 -> the same, times two) and liar.Keep (the positive elements of a vector), and a backend "liar" for them. The environment variable LIE says what it lies about; without one it is
 * honest. Every lie must be refused by the host with the plugin's name (tests/e2e/plugin_test.py). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "slipway/backend.h"
#include "slipway/compiler.h"
#include "slipway/operator.h"

static int Lie(const char* what) {
  const char* lie = getenv("LIE");
  return lie && strcmp(lie, what) == 0;
}

static int Fail(slipway_error* error, int code, const char* message) {
  error->code = code;
  strncpy(error->message, message, sizeof(error->message) - 1);
  error->message[sizeof(error->message) - 1] = '\0';
  return code;
}

/* --- operator --- */

static int Infer(void* context, const slipway_operator_call* call, slipway_tensor* outputs, slipway_error* error) {
  const slipway_tensor* x = &call->inputs[0];
  (void)context;
  if (x->dtype != 1) return Fail(error, SLIPWAY_UNSUPPORTED, "Double takes float32");
  if (Lie("infer fails silently")) return 77;
  if (Lie("infer no terminator")) {
    memset(error->message, 'x', sizeof(error->message));
    return SLIPWAY_UNSUPPORTED;
  }
  outputs[0].dtype = 1;
  outputs[0].rank = x->rank;
  memcpy(outputs[0].dims, x->dims, sizeof(x->dims));
  if (Lie("infer dtype")) outputs[0].dtype = 99;
  if (Lie("infer string")) outputs[0].dtype = 8;
  if (Lie("infer rank")) outputs[0].rank = 13;
  if (Lie("infer negative rank")) outputs[0].rank = -1;
  if (Lie("infer zero")) outputs[0].dims[0] = 0;
  if (Lie("infer stranger")) outputs[0].dims[0] = -900;
  if (Lie("infer huge")) outputs[0].dims[0] = outputs[0].dims[1] = (int64_t)1 << 40;
  if (Lie("infer changes")) outputs[0].dims[outputs[0].rank - 1] += 1;
  return SLIPWAY_OK;
}

static int Run(void* context, const slipway_operator_call* call, const slipway_execution* execution, slipway_error* error) {
  const float* x = (const float*)call->inputs[0].data;
  float* y = (float*)call->outputs[0].data;
  const uint64_t n = call->outputs[0].bytes / sizeof(float);
  uint64_t i;
  (void)context;
  (void)execution;
  if (Lie("run fails silently")) return 5000;
  if (Lie("run before")) y[-1] = 1;
  if (Lie("run behind")) y[n] = 1;
  if (Lie("run refuses")) return Fail(error, SLIPWAY_INVALID_ARGUMENT, "out of tokens");
  for (i = 0; i < n; ++i) y[i] = 2 * x[i];
  return SLIPWAY_OK;
}

/* Keep: the positive elements of a vector. How many depends on the data. */
static int InferKeep(void* context, const slipway_operator_call* call, slipway_tensor* outputs, slipway_error* error) {
  const slipway_tensor* x = &call->inputs[0];
  int64_t i, n = 0;
  (void)context;
  if (x->dtype != 1 || x->rank != 1) return Fail(error, SLIPWAY_UNSUPPORTED, "Keep takes a float32 vector");
  outputs[0].dtype = 1;
  outputs[0].rank = 1;
  outputs[0].dims[0] = SLIPWAY_DIM_UNKNOWN;
  if (!x->data || Lie("keep never says")) return SLIPWAY_OK;
  for (i = 0; i < x->dims[0]; ++i) n += ((const float*)x->data)[i] > 0;
  outputs[0].dims[0] = n;
  if (Lie("keep rank")) outputs[0].rank = 2;
  if (Lie("keep type")) outputs[0].dtype = 3;
  if (Lie("keep huge")) outputs[0].dims[0] = (int64_t)1 << 45;
  return SLIPWAY_OK;
}
static int RunKeep(void* context, const slipway_operator_call* call, const slipway_execution* execution, slipway_error* error) {
  int64_t i, n = 0;
  (void)context;
  (void)execution;
  (void)error;
  for (i = 0; i < call->inputs[0].dims[0]; ++i) {
    const float v = ((const float*)call->inputs[0].data)[i];
    if (v > 0) ((float*)call->outputs[0].data)[n++] = v;
  }
  return SLIPWAY_OK;
}

static int64_t Macs(void* context, const slipway_operator_call* call) {
  int64_t n = 1;
  int32_t i;
  (void)context;
  for (i = 0; i < call->outputs[0].rank; ++i) n *= call->outputs[0].dims[i];
  return n;
}

const slipway_operator_set* slipway_operators_main(uint32_t host) {
  static slipway_attribute_schema attributes[2];
  static slipway_operator op;
  static slipway_operator_set set;
  static slipway_operator keep;
  static const slipway_operator* list[3];
  (void)host;
  memset(attributes, 0, sizeof(attributes));
  memset(&op, 0, sizeof(op));
  memset(&set, 0, sizeof(set));
  attributes[0].name = "note";
  attributes[0].kind = SLIPWAY_ATTRIBUTE_STRING;
  attributes[1].name = "scale";
  attributes[1].kind = SLIPWAY_ATTRIBUTE_FLOAT;
  op.struct_size = sizeof(op);
  op.domain = "liar";
  op.name = "Double";
  op.version = 1;
  op.min_inputs = op.max_inputs = op.min_outputs = op.max_outputs = 1;
  op.num_attributes = 2;
  op.attributes = attributes;
  op.infer = Infer;
  op.run = Run;
  op.macs = Macs;
  keep = op;
  keep.name = "Keep";
  keep.infer = InferKeep;
  keep.run = RunKeep;
  keep.macs = NULL;
  list[0] = &op;
  list[1] = &keep;
  list[2] = &op;
  set.struct_size = sizeof(set);
  set.abi_version = SLIPWAY_OPERATOR_ABI_VERSION;
  set.name = "liar";
  set.version = "1";
  set.num_operators = 2;
  set.operators = list;
  if (Lie("operators refuse")) return NULL;
  if (Lie("operators abi")) set.abi_version = 7;
  if (Lie("operators set size")) set.struct_size = 8;
  if (Lie("operators null list")) set.operators = NULL;
  if (Lie("operators many")) set.num_operators = 100000;
  if (Lie("operators twice")) set.num_operators = 3;
  if (Lie("operator null")) list[0] = NULL;
  if (Lie("operator size")) op.struct_size = 16;
  if (Lie("operator domain")) op.domain = "ai.onnx";
  if (Lie("operator domain empty")) op.domain = "";
  if (Lie("operator domain null")) op.domain = NULL;
  if (Lie("operator domain bytes")) op.domain = "li\nar";
  if (Lie("operator name")) op.name = "Dou ble";
  if (Lie("operator version")) op.version = 0;
  if (Lie("operator functions")) op.run = NULL;
  if (Lie("operator arity")) op.max_inputs = 1000;
  if (Lie("operator outputs")) op.min_outputs = 0;
  if (Lie("operator rule")) op.quantization = 9;
  if (Lie("operator rule arity")) {
    op.quantization = SLIPWAY_QUANTIZE_ELEMENTWISE;
    op.max_inputs = 2;
  }
  if (Lie("attributes null")) op.attributes = NULL;
  if (Lie("attributes many")) op.num_attributes = 1000;
  if (Lie("attribute name")) attributes[0].name = NULL;
  if (Lie("attribute kind")) attributes[0].kind = 12;
  if (Lie("attribute twice")) attributes[1].name = "note";
  if (Lie("attribute default")) attributes[0].has_default = 1; /* and no text */
  return &set;
}

/* --- compile side --- */

static int Supports(void* context, const slipway_graph* graph, const slipway_target* target, slipway_error* reason) {
  (void)context;
  (void)target;
  if (strcmp(graph->nodes[0].domain, "liar") != 0) return Fail(reason, SLIPWAY_UNSUPPORTED, "doubles only");
  if (Lie("no output_dims") && strcmp(graph->nodes[0].op, "Keep") == 0) return Fail(reason, SLIPWAY_UNSUPPORTED, "not today");
  return SLIPWAY_OK;
}
static int GivesDataDims(void* context, const slipway_graph* graph, const slipway_target* target) {
  (void)context;
  (void)target;
  return strcmp(graph->nodes[0].op, "Keep") == 0;
}

static int Candidates(void* context, const slipway_graph* graph, const slipway_target* target, const slipway_candidate_sink* sink,
                      slipway_error* error) {
  static const uint32_t layouts[1] = {77}, blocked[1] = {SLIPWAY_LAYOUT_BLOCKED_8};
  static char endless[4096];
  slipway_candidate c;
  int i;
  (void)context;
  (void)graph;
  (void)target;
  memset(&c, 0, sizeof(c));
  memset(endless, 'k', sizeof(endless));
  c.struct_size = sizeof(c);
  c.kernel = "double";
  c.cost_us = 0.5;
  c.compute_efficiency = c.memory_efficiency = 0.5;
  c.in_place = -1;
  if (Lie("candidates none")) return SLIPWAY_OK;
  if (Lie("candidates fail")) return Fail(error, SLIPWAY_INTERNAL, "changed my mind");
  if (Lie("candidate null")) return sink->add(sink->host, NULL);
  if (Lie("candidate size")) c.struct_size = 4;
  if (Lie("candidate kernel null")) c.kernel = NULL;
  if (Lie("candidate kernel empty")) c.kernel = "";
  if (Lie("candidate kernel long")) c.kernel = endless; /* and without an end */
  if (Lie("candidate kernel bytes")) c.kernel = "a\tb";
  if (Lie("candidate input layout")) c.input_layouts = layouts;
  if (Lie("candidate output layout")) c.output_layouts = layouts;
  if (Lie("candidate layout rank")) c.output_layouts = blocked;
  if (Lie("candidate cost")) c.cost_us = (double)NAN;
  if (Lie("candidate endless cost")) c.cost_us = (double)INFINITY;
  if (Lie("candidate efficiency")) {
    c.cost_us = -1;
    c.compute_efficiency = (double)NAN;
  }
  if (Lie("candidate efficiency above one")) {
    c.cost_us = -1;
    c.memory_efficiency = 1.5;
  }
  if (Lie("candidate overhead")) {
    c.cost_us = -1;
    c.overhead_us = -3;
  }
  if (Lie("candidate in place")) c.in_place = 5;
  if (Lie("candidates many")) {
    for (i = 0; i < 1000; ++i) sink->add(sink->host, &c); /* and does not look at the answer */
    return SLIPWAY_OK;
  }
  return sink->add(sink->host, &c);
}

static int Compile(void* context, const slipway_graph* graph, const char* const* chosen, const slipway_target* target,
                   const slipway_step_sink* sink, slipway_error* error) {
  static const float ones[4] = {1, 1, 1, 1};
  uint32_t n;
  (void)context;
  (void)chosen;
  (void)target;
  if (Lie("compile fails")) return Fail(error, SLIPWAY_UNSUPPORTED, "too hot");
  if (Lie("compile nothing")) return SLIPWAY_OK;
  if (Lie("step null")) return sink->add(sink->host, NULL);
  for (n = 0; n < graph->num_nodes; ++n) {
    slipway_compiled_step s;
    slipway_packed packed;
    int32_t inputs[2], outputs[2];
    uint32_t nodes[2];
    int code;
    memset(&s, 0, sizeof(s));
    memset(&packed, 0, sizeof(packed));
    nodes[0] = nodes[1] = n;
    inputs[0] = inputs[1] = graph->nodes[n].inputs[0];
    outputs[0] = outputs[1] = graph->nodes[n].outputs[0];
    packed.dtype = 1;
    packed.rank = 1;
    packed.dims[0] = 4;
    packed.bytes = sizeof(ones);
    packed.data = ones;
    s.struct_size = sizeof(s);
    s.num_nodes = s.num_inputs = s.num_outputs = 1;
    s.nodes = nodes;
    s.inputs = inputs;
    s.outputs = outputs;
    s.blob = strcmp(graph->nodes[n].op, "Keep") == 0 ? "keeps" : "twice";
    s.blob_size = 5;
    s.in_place = -1;
    if (Lie("step size")) s.struct_size = 24;
    if (Lie("step kernel")) s.kernel = "\x01";
    if (Lie("step no nodes")) s.num_nodes = 0;
    if (Lie("step null nodes")) s.nodes = NULL;
    if (Lie("step node index")) nodes[0] = 9;
    if (Lie("step several nodes")) s.num_nodes = 2;
    if (Lie("step null inputs")) s.inputs = NULL;
    if (Lie("step value index")) inputs[0] = 999;
    if (Lie("step negative value")) inputs[0] = -7;
    if (Lie("step other input")) inputs[0] = outputs[0];
    if (Lie("step other output")) outputs[0] = graph->nodes[n].inputs[0];
    if (Lie("step absent output")) outputs[0] = -1;
    if (Lie("step no outputs")) s.num_outputs = 0;
    if (Lie("step more outputs")) s.num_outputs = 2;
    if (Lie("blob null")) s.blob = NULL;
    if (Lie("blob huge")) s.blob_size = (uint64_t)1 << 50;
    if (Lie("step workspace")) s.workspace_bytes = (uint64_t)1 << 60;
    if (Lie("step in place")) s.in_place = 3;
    if (Lie("packed null") || Lie("packed many") || Lie("packed bytes") || Lie("packed data") || Lie("packed type") || Lie("packed rank")) {
      s.num_packed = Lie("packed many") ? 100000 : 1;
      s.packed = Lie("packed null") ? NULL : &packed;
      if (Lie("packed bytes")) packed.bytes = 1 << 20;
      if (Lie("packed data")) packed.data = NULL;
      if (Lie("packed type")) packed.dtype = 500;
      if (Lie("packed rank")) packed.rank = 40;
    }
    code = sink->add(sink->host, &s);
    if (code != 0) return code;
    if (Lie("step twice")) return sink->add(sink->host, &s);
  }
  return SLIPWAY_OK;
}

const slipway_compiler* slipway_compiler_main(uint32_t host) {
  static slipway_compiler c;
  (void)host;
  memset(&c, 0, sizeof(c));
  c.struct_size = sizeof(c);
  c.abi_version = SLIPWAY_COMPILER_ABI_VERSION;
  c.name = "liar";
  c.version = "1";
  c.level = SLIPWAY_LEVEL_OPERATOR;
  c.supports = Supports;
  c.candidates = Candidates;
  c.compile = Compile;
  c.gives_data_dims = GivesDataDims;
  if (Lie("compiler older")) c.struct_size = offsetof(slipway_compiler, gives_data_dims);
  if (Lie("compiler refuses")) return NULL;
  if (Lie("compiler abi")) c.abi_version = 2;
  if (Lie("compiler size")) c.struct_size = 40;
  if (Lie("compiler name null")) c.name = NULL;
  if (Lie("compiler name")) c.name = "x86";
  if (Lie("compiler other name")) c.name = "somebody";
  if (Lie("compiler version")) c.version = "";
  if (Lie("compiler level")) c.level = 9;
  if (Lie("compiler functions")) c.compile = NULL;
  return &c;
}

/* --- run side --- */

static int Load(void* context, const slipway_step* step, void** program, slipway_error* error) {
  (void)context;
  static int kinds[2] = {0, 1};
  if (step->blob_size != 5 || (memcmp(step->blob, "twice", 5) != 0 && memcmp(step->blob, "keeps", 5) != 0)) return Fail(error, SLIPWAY_DATA_LOSS, "not my blob");
  *program = &kinds[step->blob[0] == 'k'];
  return SLIPWAY_OK;
}
static void Unload(void* context, void* program) {
  (void)context;
  (void)program;
}
static int Prepare(void* context, void* program, const slipway_step* step, slipway_requirements* requirements, void** bound, slipway_error* error) {
  (void)context;
  if (!*(int*)program && step->inputs[0].bytes != step->outputs[0].bytes) return Fail(error, SLIPWAY_DATA_LOSS, "sizes differ");
  requirements->workspace_bytes = 0;
  *bound = program;
  return SLIPWAY_OK;
}
static int OutputDims(void* context, void* program, const slipway_step* step, slipway_tensor* outputs, slipway_error* error) {
  slipway_operator_call call;
  (void)program;
  memset(&call, 0, sizeof(call));
  call.struct_size = sizeof(call);
  call.num_inputs = call.num_outputs = 1;
  call.inputs = step->inputs;
  if (Lie("dims rank")) outputs[0].rank = 3;
  if (Lie("dims type")) outputs[0].dtype = 7;
  if (Lie("dims many")) outputs[0].rank = 1000;
  if (Lie("dims unanswered")) return SLIPWAY_OK;
  if (Lie("dims negative")) outputs[0].dims[0] = -4;
  if (Lie("dims huge")) outputs[0].dims[0] = (int64_t)1 << 50;
  if (Lie("dims rank") || Lie("dims type") || Lie("dims many") || Lie("dims negative") || Lie("dims huge")) return SLIPWAY_OK;
  return InferKeep(context, &call, outputs, error);
}
static void Release(void* context, void* bound) {
  (void)context;
  (void)bound;
}
static int RunStep(void* context, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs, const slipway_execution* execution, slipway_error* error) {
  uint64_t i;
  (void)execution;
  if (*(int*)bound) {
    slipway_operator_call call;
    memset(&call, 0, sizeof(call));
    call.inputs = inputs;
    call.outputs = outputs;
    return RunKeep(context, &call, execution, error);
  }
  for (i = 0; i < inputs[0].bytes / sizeof(float); ++i) ((float*)outputs[0].data)[i] = 2 * ((const float*)inputs[0].data)[i];
  return SLIPWAY_OK;
}

const slipway_backend* slipway_backend_main(uint32_t host) {
  static slipway_backend b;
  (void)host;
  memset(&b, 0, sizeof(b));
  b.struct_size = sizeof(b);
  b.abi_version = SLIPWAY_BACKEND_ABI_VERSION;
  b.name = "liar";
  b.version = "1";
  b.load = Load;
  b.unload = Unload;
  b.prepare = Prepare;
  b.release = Release;
  b.run = RunStep;
  b.output_dims = OutputDims;
  if (Lie("backend refuses")) return NULL;
  if (Lie("backend abi")) b.abi_version = 12;
  if (Lie("backend size")) b.struct_size = 16;
  if (Lie("backend name")) b.name = NULL;
  if (Lie("backend taken")) b.name = "reference";
  if (Lie("backend functions")) b.run = NULL;
  return &b;
}
