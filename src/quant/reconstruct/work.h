#pragma once
// The folder in which a reconstruction keeps what memory need not hold (the values of all samples
// between two blocks, in mapped files) and what a killed run must not lose (what was learned of
// each block).

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "model/ir/tensor.h"

namespace slipway::quant {

// What a folder belongs to, part by part ("model", "data"): a folder whose parts differ is refused.
using WorkKey = std::vector<std::pair<std::string, std::string>>;

class WorkFolder {
 public:
  // Makes the folder where there is none. Empty: a temporary one under $TMPDIR (else /tmp) whose
  // files have no names, so that nothing stays behind even when the process is killed.
  // InvalidArgument: a folder with other things in it. Unavailable: another process uses it.
  static Result<std::unique_ptr<WorkFolder>> Open(const std::string& path);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  // Writes the key into a fresh folder; InvalidArgument names the parts in which it differs from
  // the one that is there.
  Status Claim(const WorkKey& key);
  bool temporary() const { return temporary_; }
  const std::string& path() const { return path_; }

  // A float32 tensor written front to back and then mapped.
  class Writer {
   public:
    ~Writer();
    // ResourceExhausted when the disk is full.
    Status Append(std::span<const uint8_t> bytes);
    // InvalidArgument unless the bytes are those of `dims`.
    Result<std::shared_ptr<const ir::Tensor>> Finish(const Dims& dims);

   private:
    friend class WorkFolder;
    int file_ = -1;
    uint64_t bytes_ = 0, hash_ = 0, chunk_ = 0;
    std::string part_, path_;  // written as part_, then renamed; path_ empty: it has no name
  };
  // Empty name: the file is gone with the last use of its tensor.
  Result<std::unique_ptr<Writer>> NewTensor(const std::string& name);
  // What was finished under this name; nothing when there is no such file or it is damaged (which
  // the log says).
  std::optional<std::shared_ptr<const ir::Tensor>> FindTensor(const std::string& name) const;

  Status SaveRecord(const std::string& name, std::string_view bytes);
  std::optional<std::string> FindRecord(const std::string& name) const;
  void Remove(const std::string& name);

 private:
  WorkFolder() = default;
  std::string path_;
  bool temporary_ = false;
  int lock_ = -1;
};

// What records are made of: little-endian numbers and byte strings with their lengths.
class RecordWriter {
 public:
  void Number(uint64_t v);
  void Real(double v);
  void Bytes(std::string_view v);
  void Tensor(const ir::Tensor& v);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};
// Reads them back; after the first thing that is not there all are zero or empty and ok() is false.
class RecordReader {
 public:
  explicit RecordReader(std::string_view bytes) : rest_(bytes) {}
  uint64_t Number();
  double Real();
  std::string_view Bytes();
  ir::Tensor Tensor();
  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace slipway::quant
