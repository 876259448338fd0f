#include "quant/reconstruct/work.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"

namespace slipway::quant {
namespace {

using ir::Tensor;

constexpr std::string_view kMark = "slipway reconstruction 1\n";  // the key's first line
constexpr std::array<char, 8> kTensorMagic = {'S', 'L', 'W', 'V', 'A', 'L', '0', '1'};

// What a tensor's file begins with.
struct Header {
  std::array<char, 8> magic;
  uint64_t hash, chunk;  // of the data, chained in pieces of `chunk` bytes
  uint64_t bytes, rank;
  std::array<int64_t, kMaxRank> dims;
};
constexpr size_t kHeaderBytes = 192;
static_assert(sizeof(Header) <= kHeaderBytes);

Status Refused(const std::string& what, const std::string& path) {
  const int error = errno;
  const std::string message = what + " '" + path + "': " + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT)
    return ResourceExhausted(message + "; give a work folder with more room");
  return Unavailable(message);
}

uint64_t HashOf(std::span<const uint8_t> bytes, uint64_t chunk) {
  uint64_t hash = 0;
  for (uint64_t at = 0; at < bytes.size(); at += chunk)
    hash = Hash64(bytes.subspan(at, std::min<uint64_t>(chunk, bytes.size() - at)), hash);
  return hash;
}

// A map that its tensors share.
struct Map {
  void* data = nullptr;
  size_t size = 0;
  ~Map() {
    if (data) ::munmap(data, size);
  }
};

std::string KeyText(const WorkKey& key) {
  std::string text(kMark);
  for (const auto& [part, value] : key) text += part + ": " + value + "\n";
  return text;
}

}  // namespace

Result<std::unique_ptr<WorkFolder>> WorkFolder::Open(const std::string& path) {
  std::unique_ptr<WorkFolder> work(new WorkFolder);
  if (path.empty()) {
    const char* parent = std::getenv("TMPDIR");
    std::string name =
        std::string(parent && *parent ? parent : "/tmp") + "/slipway-reconstruction-XXXXXX";
    if (!::mkdtemp(name.data())) return Refused("cannot make the temporary folder", name);
    work->path_ = name;
    work->temporary_ = true;
    return work;
  }
  work->path_ = path;
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error)
    return InvalidArgument("cannot make the work folder '" + path + "': " + error.message());
  if (!std::filesystem::exists(path + "/key") && !std::filesystem::is_empty(path, error))
    return InvalidArgument("'" + path +
                           "' is no work folder of a reconstruction and is not empty; give another "
                           "folder");
  work->lock_ = ::open((path + "/key").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (work->lock_ < 0) return Refused("cannot write to the work folder", path);
  if (::flock(work->lock_, LOCK_EX | LOCK_NB) != 0)
    return Unavailable("another process uses the work folder '" + path +
                       "'; wait for it or give another folder");
  // Halves of a run that was killed.
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.path().extension() == ".part") std::filesystem::remove(entry.path(), error);
  }
  return work;
}

WorkFolder::~WorkFolder() {
  if (lock_ >= 0) ::close(lock_);
  std::error_code error;
  if (temporary_) std::filesystem::remove_all(path_, error);
}

Status WorkFolder::Claim(const WorkKey& key) {
  if (temporary_) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const std::string found, ReadFile(path_ + "/key"));
  const std::string wanted = KeyText(key);
  if (found == wanted) return OkStatus();
  if (found.empty()) {
    // In place: the lock is on this file.
    if (::pwrite(lock_, wanted.data(), wanted.size(), 0) != static_cast<ssize_t>(wanted.size()))
      return Refused("cannot write to the work folder", path_);
    return OkStatus();
  }
  if (!found.starts_with(kMark))
    return InvalidArgument("'" + path_ +
                           "' is no work folder of this version's reconstruction; give another");
  std::string differ;
  for (const auto& [part, value] : key) {
    if (found.find("\n" + part + ": " + value + "\n") == std::string::npos)
      differ += (differ.empty() ? "" : ", ") + part;
  }
  return InvalidArgument("the work folder '" + path_ + "' belongs to another run (it differs in: " +
                         differ + "); give another folder, or remove this one to begin anew");
}

WorkFolder::Writer::~Writer() {
  if (file_ >= 0) ::close(file_);
  if (!part_.empty()) ::unlink(part_.c_str());
}

Result<std::unique_ptr<WorkFolder::Writer>> WorkFolder::NewTensor(const std::string& name) {
  std::unique_ptr<Writer> writer(new Writer);
  const bool kept = !name.empty() && !temporary_;
  std::string part = kept ? path_ + "/" + name + ".part" : path_ + "/scratch-XXXXXX.part";
  writer->file_ = kept ? ::open(part.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
                       : ::mkostemps(part.data(), 5, O_CLOEXEC);
  if (writer->file_ < 0) return Refused("cannot write to the work folder", part);
  if (kept) {
    writer->part_ = part;
    writer->path_ = path_ + "/" + name;
  } else {
    ::unlink(part.c_str());
  }
  const std::array<char, kHeaderBytes> empty{};
  if (::write(writer->file_, empty.data(), empty.size()) != static_cast<ssize_t>(empty.size()))
    return Refused("cannot write to the work folder", path_);
  return writer;
}

Status WorkFolder::Writer::Append(std::span<const uint8_t> bytes) {
  if (bytes_ == 0) chunk_ = bytes.size();
  if (!path_.empty()) hash_ = Hash64(bytes, hash_);
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Refused("cannot write to the work folder", part_);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return OkStatus();
}

Result<std::shared_ptr<const Tensor>> WorkFolder::Writer::Finish(const Dims& dims) {
  if (static_cast<uint64_t>(dims.count()) * sizeof(float) != bytes_)
    return InvalidArgument("a tensor of " + dims.ToString() + " with " + std::to_string(bytes_) +
                           " bytes");
  Header header{.magic = kTensorMagic,
                .hash = hash_,
                .chunk = chunk_,
                .bytes = bytes_,
                .rank = static_cast<uint64_t>(dims.rank()),
                .dims = {}};
  for (size_t i = 0; i < header.rank; ++i) header.dims[i] = dims[i];
  if (::pwrite(file_, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header))
    return Refused("cannot write to the work folder", part_);
  auto map = std::make_shared<Map>();
  map->size = kHeaderBytes + bytes_;
  void* data = ::mmap(nullptr, map->size, PROT_READ, MAP_SHARED, file_, 0);
  if (data == MAP_FAILED) return Refused("cannot map", part_);
  map->data = data;
  if (!path_.empty() && ::rename(part_.c_str(), path_.c_str()) != 0)
    return Refused("cannot write to the work folder", path_);
  part_.clear();
  SLIPWAY_ASSIGN_OR_RETURN(
      Tensor t, Tensor::Wrap(DType::kFloat32, dims,
                             {static_cast<const uint8_t*>(data) + kHeaderBytes, bytes_}, map));
  return std::make_shared<const Tensor>(std::move(t));
}

std::optional<std::shared_ptr<const Tensor>> WorkFolder::FindTensor(const std::string& name) const {
  if (temporary_) return std::nullopt;
  const std::string path = path_ + "/" + name;
  auto file = MappedFile::Open(path);
  if (!file.ok()) return std::nullopt;
  const auto bytes = (*file)->bytes();
  const auto damaged = [&]() {
    Log(LogLevel::kWarning, "'" + path + "' is damaged; what it held is computed again");
    return std::nullopt;
  };
  Header header;
  if (bytes.size() < kHeaderBytes) return damaged();
  std::memcpy(&header, bytes.data(), sizeof header);
  const auto data = bytes.subspan(kHeaderBytes);
  if (header.magic != kTensorMagic || header.bytes != data.size() || header.rank > kMaxRank ||
      (header.chunk == 0 && !data.empty()) || HashOf(data, header.chunk) != header.hash)
    return damaged();
  Dims dims;
  for (size_t i = 0; i < header.rank; ++i) dims.push_back(header.dims[i]);
  auto t = Tensor::Wrap(DType::kFloat32, dims, data, *file);  // refuses extents of other counts
  if (!t.ok()) return damaged();
  return std::make_shared<const Tensor>(std::move(*t));
}

Status WorkFolder::SaveRecord(const std::string& name, std::string_view bytes) {
  if (temporary_) return OkStatus();
  RecordWriter whole;
  whole.Number(Hash64(bytes));
  return WriteFile(path_ + "/" + name, whole.bytes() + std::string(bytes));
}

std::optional<std::string> WorkFolder::FindRecord(const std::string& name) const {
  if (temporary_) return std::nullopt;
  const std::string path = path_ + "/" + name;
  auto bytes = ReadFile(path);
  if (!bytes.ok()) return std::nullopt;
  RecordReader reader(*bytes);
  const uint64_t hash = reader.Number();
  if (!reader.ok() || Hash64(std::string_view(*bytes).substr(8)) != hash) {
    Log(LogLevel::kWarning, "'" + path + "' is damaged; its block is learned again");
    return std::nullopt;
  }
  return bytes->substr(8);
}

void WorkFolder::Remove(const std::string& name) {
  if (!temporary_) ::unlink((path_ + "/" + name).c_str());
}

void RecordWriter::Number(uint64_t v) {
  for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(v >> (8 * i) & 0xFF);
}
void RecordWriter::Real(double v) {
  uint64_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  Number(bits);
}
void RecordWriter::Bytes(std::string_view v) {
  Number(v.size());
  bytes_ += v;
}
void RecordWriter::Tensor(const ir::Tensor& v) {
  Number(static_cast<uint64_t>(v.dtype()));
  Number(static_cast<uint64_t>(v.dims().rank()));
  for (const int64_t d : v.dims()) Number(static_cast<uint64_t>(d));
  Bytes({reinterpret_cast<const char*>(v.bytes().data()), v.bytes().size()});
}

uint64_t RecordReader::Number() {
  if (!ok_ || rest_.size() < 8) {
    ok_ = false;
    return 0;
  }
  uint64_t v = 0;
  for (int i = 0; i < 8; ++i)
    v |= uint64_t{static_cast<uint8_t>(rest_[static_cast<size_t>(i)])} << (8 * i);
  rest_.remove_prefix(8);
  return v;
}
double RecordReader::Real() {
  const uint64_t bits = Number();
  double v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
std::string_view RecordReader::Bytes() {
  const uint64_t size = Number();
  if (!ok_ || size > rest_.size()) {
    ok_ = false;
    return {};
  }
  const std::string_view v = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return v;
}
ir::Tensor RecordReader::Tensor() {
  const uint64_t type = Number(), rank = Number();
  Dims dims;
  if (rank > kMaxRank) ok_ = false;
  for (uint64_t i = 0; ok_ && i < rank; ++i) dims.push_back(static_cast<int64_t>(Number()));
  const std::string_view data = Bytes();
  if (!ok_) return {};
  auto t = type <= 0xFF ? ir::Tensor::Allocate(static_cast<DType>(type), dims)
                        : Result<ir::Tensor>(InvalidArgument("type"));
  if (!t.ok() || t->bytes().size() != data.size()) {
    ok_ = false;
    return {};
  }
  if (!data.empty()) std::memcpy(t->mutable_data(), data.data(), data.size());
  return std::move(*t);
}

}  // namespace slipway::quant
