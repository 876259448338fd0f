#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"

namespace slipway::data {
namespace {

namespace fs = std::filesystem;

struct Reader {
  archive* a = archive_read_new();
  ~Reader() { archive_read_free(a); }
};

std::string ArchiveError(archive* a) {
  const char* text = archive_error_string(a);
  return text ? text : "unknown error";
}

Status Damaged(const std::string& path, archive* a) {
  return DataLoss(path + ": damaged archive (" + ArchiveError(a) + "); copy or download it again");
}

Status Open(Reader& r, const std::string& path, uint64_t* packed) {
  std::error_code ec;
  *packed = fs::file_size(path, ec);
  if (ec) return NotFound(path + ": cannot be read (" + ec.message() + "); check the path");
  archive_read_support_format_zip(r.a);
  archive_read_support_format_tar(r.a);
  archive_read_support_filter_all(r.a);
  if (archive_read_open_filename(r.a, path.c_str(), 1 << 16) != ARCHIVE_OK) {
    return DataLoss(path + ": not a zip or tar archive (" + ArchiveError(r.a) + ")");
  }
  return OkStatus();
}

// The member's name as a path relative to the destination, or why it is refused.
Result<fs::path> SafeName(const std::string& archive_path, archive_entry* entry) {
  const char* raw = archive_entry_pathname_utf8(entry);
  if (!raw) raw = archive_entry_pathname(entry);
  const std::string name = raw ? raw : "";
  const auto refuse = [&](const char* why) {
    return InvalidArgument(archive_path + ": member '" + name + "' " + why +
                           "; pack the archive again without it");
  };
  if (name.empty()) return refuse("has no name");
  if (name.find('\0') != std::string::npos || name.find('\\') != std::string::npos) {
    return refuse("has a forbidden character in its name");
  }
  const fs::path p(name);
  if (p.is_absolute()) return refuse("has an absolute name");
  for (const auto& part : p) {
    if (part == "..") return refuse("leaves the folder with '..'");
  }
  if (archive_entry_hardlink(entry) || archive_entry_symlink(entry)) return refuse("is a link");
  const auto type = archive_entry_filetype(entry);
  if (type != AE_IFREG && type != AE_IFDIR && type != 0) return refuse("is not a plain file");
  return p.lexically_normal();
}

Status OverLimit(const std::string& path, const std::string& what) {
  return ResourceExhausted(path + ": " + what + "; unpack it yourself and give the folder");
}

}  // namespace

bool IsArchiveName(const std::string& path) {
  for (const char* end :
       {".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar.zst"}) {
    if (path.ends_with(end)) return true;
  }
  return false;
}

Result<std::unique_ptr<TemporaryFolder>> TemporaryFolder::Create() {
  std::error_code ec;
  fs::path base = fs::temp_directory_path(ec);
  if (ec) base = "/tmp";
  std::string name = (base / "slipway-XXXXXX").string();
  if (!mkdtemp(name.data())) {
    return Unavailable("cannot make a folder in " + base.string() +
                       "; set TMPDIR to a writable folder");
  }
  std::unique_ptr<TemporaryFolder> folder(new TemporaryFolder);
  folder->path_ = name;
  return folder;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ec;
  fs::remove_all(path_, ec);
}

Status ExtractArchive(const std::string& path, const std::string& folder,
                      const ArchiveLimits& limits) {
  Reader r;
  uint64_t packed = 0, members = 0, total = 0;
  SLIPWAY_RETURN_IF_ERROR(Open(r, path, &packed));
  archive_entry* entry;
  for (;;) {
    const int rc = archive_read_next_header(r.a, &entry);
    if (rc == ARCHIVE_EOF) break;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return Damaged(path, r.a);
    if (++members > limits.max_members) {
      return OverLimit(path, "more than " + std::to_string(limits.max_members) + " members");
    }
    SLIPWAY_ASSIGN_OR_RETURN(fs::path name, SafeName(path, entry));
    const fs::path target = fs::path(folder) / name;
    std::error_code ec;
    if (archive_entry_filetype(entry) == AE_IFDIR || target.filename().empty()) {
      fs::create_directories(target, ec);
      continue;
    }
    fs::create_directories(target.parent_path(), ec);
    std::FILE* out = std::fopen(target.c_str(), "wbx");
    if (!out) {
      return InvalidArgument(path + ": member '" + name.string() + "' cannot be written (" +
                             std::strerror(errno) + "); is it there twice?");
    }
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> closer(out, std::fclose);
    const void* block;
    size_t size;
    la_int64_t offset;
    int block_rc;
    while ((block_rc = archive_read_data_block(r.a, &block, &size, &offset)) == ARCHIVE_OK) {
      if (size == 0) continue;
      total += size;
      if (total > limits.max_bytes || static_cast<uint64_t>(offset) + size > limits.max_bytes) {
        return OverLimit(path,
                         "unpacks to more than " + std::to_string(limits.max_bytes) + " bytes");
      }
      if (total > (64u << 20) && total / std::max<uint64_t>(packed, 1) > limits.max_ratio) {
        return OverLimit(path,
                         "unpacks to over " + std::to_string(limits.max_ratio) + " times its size");
      }
      if (fseeko(out, offset, SEEK_SET) != 0 || std::fwrite(block, 1, size, out) != size) {
        return ResourceExhausted(target.string() + ": cannot be written (" + std::strerror(errno) +
                                 "); free space or set TMPDIR");
      }
    }
    if (block_rc != ARCHIVE_EOF) return Damaged(path, r.a);
  }
  if (members == 0) return InvalidArgument(path + ": the archive is empty");
  return OkStatus();
}

Result<std::vector<ArchiveMember>> ReadArchiveMembers(const std::string& path, uint64_t max_bytes) {
  Reader r;
  uint64_t packed = 0, total = 0;
  SLIPWAY_RETURN_IF_ERROR(Open(r, path, &packed));
  std::vector<ArchiveMember> out;
  archive_entry* entry;
  for (;;) {
    const int rc = archive_read_next_header(r.a, &entry);
    if (rc == ARCHIVE_EOF) break;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) return Damaged(path, r.a);
    SLIPWAY_ASSIGN_OR_RETURN(fs::path name, SafeName(path, entry));
    if (archive_entry_filetype(entry) == AE_IFDIR) continue;
    if (out.size() >= 65536) return OverLimit(path, "more than 65536 members");
    ArchiveMember m;
    m.name = name.string();
    // The declared size is a hint from outside: never allocate more than deflate could have packed
    // (1032 : 1).
    uint64_t capacity = 1 << 16;
    if (archive_entry_size_is_set(entry)) {
      const uint64_t declared =
          static_cast<uint64_t>(std::max<la_int64_t>(archive_entry_size(entry), 0));
      if (declared > max_bytes - total) {
        return OverLimit(path,
                         "member '" + m.name + "' needs " + std::to_string(declared) + " bytes");
      }
      capacity = std::min(std::max<uint64_t>(declared, 1), packed * 1100 + (1 << 16));
    }
    auto buffer = std::make_shared<AlignedBuffer>(capacity);
    if (!buffer->data()) return ResourceExhausted(path + ": no memory for member '" + m.name + "'");
    for (;;) {
      if (m.size == buffer->size()) {  // full: one byte more proves that it must grow
        uint8_t extra;
        const la_ssize_t n = archive_read_data(r.a, &extra, 1);
        if (n < 0) return Damaged(path, r.a);
        if (n == 0) break;
        if (m.size >= max_bytes - total) return OverLimit(path, "unpacks to too many bytes");
        auto bigger = std::make_shared<AlignedBuffer>(buffer->size() * 2 + 1);
        if (!bigger->data())
          return ResourceExhausted(path + ": no memory for member '" + m.name + "'");
        std::memcpy(bigger->data(), buffer->data(), m.size);
        bigger->data()[m.size++] = extra;
        buffer = std::move(bigger);
      }
      const la_ssize_t n = archive_read_data(r.a, buffer->data() + m.size, buffer->size() - m.size);
      if (n < 0) return Damaged(path, r.a);
      if (n == 0) break;
      m.size += static_cast<size_t>(n);
      if (m.size > max_bytes - total) return OverLimit(path, "unpacks to too many bytes");
    }
    total += m.size;
    m.bytes = std::move(buffer);
    out.push_back(std::move(m));
  }
  return out;
}

Status WriteZip(const std::string& path,
                std::span<const std::pair<std::string, std::string>> members) {
  const std::string temporary = path + ".tmp" + std::to_string(getpid());
  archive* a = archive_write_new();
  archive_write_set_format_zip(a);
  archive_write_zip_set_compression_store(a);
  Status status;
  if (archive_write_open_filename(a, temporary.c_str()) != ARCHIVE_OK) {
    status = Unavailable(path + ": cannot be written (" + ArchiveError(a) +
                         "); choose a writable place");
  }
  archive_entry* entry = archive_entry_new();
  for (const auto& [name, bytes] : members) {
    if (!status.ok()) break;
    archive_entry_clear(entry);
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    if (archive_write_header(a, entry) != ARCHIVE_OK ||
        archive_write_data(a, bytes.data(), bytes.size()) !=
            static_cast<la_ssize_t>(bytes.size())) {
      status = Unavailable(path + ": cannot be written (" + ArchiveError(a) + ")");
    }
  }
  archive_entry_free(entry);
  if (archive_write_close(a) != ARCHIVE_OK && status.ok()) {
    status = Unavailable(path + ": cannot be written (" + ArchiveError(a) + ")");
  }
  archive_write_free(a);
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) {
    status = Unavailable(path + ": cannot be replaced (" + std::strerror(errno) + ")");
  }
  if (!status.ok()) std::remove(temporary.c_str());
  return status;
}

Result<std::shared_ptr<std::string>> ReadMaybeGzip(const std::string& path, uint64_t max_bytes) {
  SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  const auto in = file->bytes();
  auto out = std::make_shared<std::string>();
  if (in.size() < 2 || in[0] != 0x1f || in[1] != 0x8b) {
    if (in.size() > max_bytes) return OverLimit(path, "too large");
    out->assign(reinterpret_cast<const char*>(in.data()), in.size());
    return out;
  }
  z_stream z{};
  if (inflateInit2(&z, 15 + 16) != Z_OK) return ResourceExhausted(path + ": no memory to inflate");
  std::string block(1 << 18, '\0');
  size_t fed = 0;
  int rc = Z_OK;
  Status status;
  while (rc != Z_STREAM_END) {
    if (z.avail_in == 0) {
      const size_t n = std::min<size_t>(in.size() - fed, 1 << 28);
      z.next_in = const_cast<Bytef*>(in.data() + fed);
      z.avail_in = static_cast<uInt>(n);
      fed += n;
    }
    z.next_out = reinterpret_cast<Bytef*>(block.data());
    z.avail_out = static_cast<uInt>(block.size());
    rc = inflate(&z, Z_NO_FLUSH);
    if (rc != Z_OK && rc != Z_STREAM_END) {
      status = DataLoss(path + ": damaged or truncated gzip file; copy or download it again");
      break;
    }
    out->append(block.data(), block.size() - z.avail_out);
    if (out->size() > max_bytes) {
      status = OverLimit(path, "inflates to more than " + std::to_string(max_bytes) + " bytes");
      break;
    }
  }
  inflateEnd(&z);
  if (!status.ok()) return status;
  return out;
}

}  // namespace slipway::data
