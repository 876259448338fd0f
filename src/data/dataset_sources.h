#pragma once
// The formats of DATA: each finds and checks its files and yields samples. Internal to src/data.

#include <memory>
#include <string>

#include "base/status.h"
#include "data/dataset.h"

namespace slipway::data {

// `path` is a file or a folder, not an archive. Errors name the file and the remedy.
Result<std::unique_ptr<SampleSource>> OpenSource(const std::string& path);

struct CsvLabel {
  std::string file;
  int64_t label;
};
// "file,label" lines, an optional header, CRLF and quoted names allowed. Errors name the line.
Result<std::vector<CsvLabel>> ReadLabelsCsv(const std::string& path);

}  // namespace slipway::data
