/* A library that says it is OpenVINO and has nothing else: for the test of a symbol that is
 * missing. */
typedef struct {
  const char* build_number;
  const char* description;
} version;

__attribute__((visibility("default"))) int ov_get_openvino_version(version* v) {
  v->build_number = "2026.9.0-lacking";
  v->description = "a test double, no OpenVINO";
  return 0;
}
