#pragma once
// What was really run on each platform, as tests/matrix.py wrote it down beside the platform files.

#include <map>
#include <string>

#include "base/status.h"

namespace slipway::deploy {

struct PlatformFacts {
  std::string run;  // "native", or how it was emulated
  std::string date, revision, machine;
  int models = 0, right = 0;  // how many whole models, and of how many the outputs agreed
  double least_macs = 0,
         most_macs = 0;  // shares of the multiplications on the platform's own backends
};

// "5 of 5 models, native, 98-100 % of MACs".
std::string Brief(const PlatformFacts& facts);

// The platforms in the text of a matrix.json. DataLoss: it is no such file, with what is wrong.
Result<std::map<std::string, PlatformFacts>> ParsePlatformFacts(const std::string& text);
// From matrix.json in the folders that platforms come from; later ones win. None: nothing.
Result<std::map<std::string, PlatformFacts>> GetPlatformFacts();

}  // namespace slipway::deploy
