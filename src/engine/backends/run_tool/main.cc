#include <cstdio>

#include "engine/backends/run_tool/tool.h"

int main(int argc, char** argv) {
  std::string out, err;
  const int code = slipway::run_tool::Main(std::vector<std::string>(argv + 1, argv + argc), out, err);
  std::fputs(out.c_str(), stdout);
  std::fputs(err.c_str(), stderr);
  return code;
}
