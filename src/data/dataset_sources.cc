#include "data/dataset_sources.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "data/idx.h"
#include "data/npy.h"

namespace slipway::data {
namespace {

namespace fs = std::filesystem;

std::string ShapeText(std::span<const int64_t> dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? "," : "") + std::to_string(dims[i]);
  return s + "]";
}

// Labels of one array file: N whole numbers, [N] or [N,1].
Result<std::vector<int64_t>> LabelsOf(const NpyArray& a, int64_t count, const std::string& name) {
  const bool shape_ok = !a.dims.empty() && (a.dims.size() == 1 || a.count() == a.dims[0]);
  if (!shape_ok) {
    return InvalidArgument(name + ": labels have shape " + ShapeText(a.dims) +
                           "; expected one class number a sample, [N]");
  }
  if (a.dims[0] != count) {
    return InvalidArgument(name + ": " + std::to_string(a.dims[0]) + " labels for " +
                           std::to_string(count) + " samples; write as many of both");
  }
  std::vector<int64_t> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const double v = NpyValue(a, i);
    if (v != std::floor(v) || std::fabs(v) > 1e15) {
      return InvalidArgument(name + ": label " + std::to_string(i) + " is " + std::to_string(v) +
                             "; labels are whole class numbers");
    }
    out[static_cast<size_t>(i)] = static_cast<int64_t>(v);
  }
  return out;
}

// Samples that are slices of one array: uint8 images or tensors as the network takes them.
class ArraySource : public SampleSource {
 public:
  ArraySource(NpyArray samples, bool images, std::optional<std::vector<int64_t>> labels,
              std::string key, std::string description, std::vector<std::string> files)
      : samples_(std::move(samples)),
        images_(images),
        labels_(std::move(labels)),
        key_(std::move(key)),
        description_(std::move(description)),
        files_(std::move(files)) {}

  static Status CheckImages(const NpyArray& a, const std::string& name) {
    const bool gray = a.dims.size() == 3;
    if (a.dtype != DType::kUInt8) {
      return InvalidArgument(name + ": images are " + std::string(DTypeName(a.dtype)) +
                             "; store uint8 images, or network inputs under the key 'inputs'");
    }
    if (!gray && !(a.dims.size() == 4 && (a.dims[3] == 1 || a.dims[3] == 3))) {
      return InvalidArgument(name + ": images have shape " + ShapeText(a.dims) +
                             "; expected [N,H,W,3], [N,H,W,1] or [N,H,W]");
    }
    return OkStatus();
  }

  int64_t size() const override { return samples_.dims[0]; }
  bool is_images() const override { return images_; }
  std::string name(int64_t i) const override { return key_ + "[" + std::to_string(i) + "]"; }
  std::optional<int64_t> label(int64_t i) const override {
    if (!labels_) return std::nullopt;
    return (*labels_)[static_cast<size_t>(i)];
  }
  Result<Image> image(int64_t i) const override {
    Image out{
        samples_.dims[1], samples_.dims[2], samples_.dims.size() == 4 ? samples_.dims[3] : 1, {}};
    const size_t n = static_cast<size_t>(out.height * out.width * out.channels);
    const uint8_t* p = samples_.bytes.data() + static_cast<size_t>(i) * n;
    out.pixels.assign(p, p + n);
    return out;
  }
  std::vector<int64_t> tensor_dims() const override {
    return {samples_.dims.begin() + 1, samples_.dims.end()};
  }
  Status tensor(int64_t i, std::span<float> out) const override {
    NpyToFloat(samples_, i * static_cast<int64_t>(out.size()), out);
    return OkStatus();
  }
  std::string description() const override { return description_; }
  std::vector<std::string> files() const override { return files_; }

 private:
  NpyArray samples_;
  bool images_;
  std::optional<std::vector<int64_t>> labels_;
  std::string key_, description_;
  std::vector<std::string> files_;
};

// Samples whose parts are slices of several arrays, one an input of the network.
class NamedSource : public SampleSource {
 public:
  static Result<std::unique_ptr<SampleSource>> Make(
      std::vector<std::pair<std::string, NpyArray>> arrays, const std::optional<NpyArray>& labels,
      const std::string& path) {
    auto out = std::make_unique<NamedSource>();
    out->path_ = path;
    for (auto& [name, array] : arrays) {
      if (array.dims.empty() || array.dims[0] < 1) {
        return InvalidArgument(path + ": array '" + name + "' has shape " + ShapeText(array.dims) +
                               "; an input's array is [N, ...], one row a sample");
      }
      const int64_t count = out->arrays_.empty() ? array.dims[0] : out->size();
      if (array.dims[0] != count) {
        return InvalidArgument(path + ": '" + name + "' has " + std::to_string(array.dims[0]) +
                               " samples, '" + arrays[0].first + "' has " + std::to_string(count) +
                               "; every input's array needs as many, and what is no input does "
                               "not belong into the file");
      }
      Part part{name, {array.dims.begin() + 1, array.dims.end()}, out->elements_, 0};
      const auto elements = CheckedCount(part.dims);
      const auto all = elements ? CheckedAdd(out->elements_, *elements) : std::nullopt;
      if (!all || *elements == 0)
        return InvalidArgument(path + ": array '" + name + "' has no elements");
      part.elements = *elements;
      out->elements_ = *all;
      out->parts_.push_back(std::move(part));
      out->arrays_.push_back(std::move(array));
    }
    if (labels) {
      SLIPWAY_ASSIGN_OR_RETURN(out->labels_, LabelsOf(*labels, out->size(), path));
    }
    return std::unique_ptr<SampleSource>(std::move(out));
  }

  int64_t size() const override { return arrays_[0].dims[0]; }
  bool is_images() const override { return false; }
  std::string name(int64_t i) const override { return path_ + "[" + std::to_string(i) + "]"; }
  std::optional<int64_t> label(int64_t i) const override {
    if (!labels_) return std::nullopt;
    return (*labels_)[static_cast<size_t>(i)];
  }
  std::vector<int64_t> tensor_dims() const override { return {elements_}; }
  std::vector<Part> parts() const override { return parts_; }
  Status tensor(int64_t i, std::span<float> out) const override {
    for (size_t p = 0; p < parts_.size(); ++p) {
      const Part& part = parts_[p];
      NpyToFloat(arrays_[p], i * part.elements,
                 out.subspan(static_cast<size_t>(part.offset), static_cast<size_t>(part.elements)));
    }
    return OkStatus();
  }
  std::string description() const override { return fs::path(path_).filename().string(); }
  std::vector<std::string> files() const override { return {path_}; }

 private:
  std::string path_;
  std::vector<NpyArray> arrays_;
  std::vector<Part> parts_;
  std::optional<std::vector<int64_t>> labels_;
  int64_t elements_ = 0;
};

struct FileEntry {
  std::string path;  // to open
  std::string name;  // as the user wrote it
  std::optional<int64_t> label;
};

// One file a sample: an image, or a .npy tensor.
class FilesSource : public SampleSource {
 public:
  FilesSource(std::string folder, std::vector<FileEntry> entries, bool images,
              std::vector<int64_t> dims)
      : folder_(std::move(folder)),
        entries_(std::move(entries)),
        images_(images),
        dims_(std::move(dims)) {}

  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  bool is_images() const override { return images_; }
  std::string name(int64_t i) const override { return entries_[static_cast<size_t>(i)].path; }
  std::optional<int64_t> label(int64_t i) const override {
    return entries_[static_cast<size_t>(i)].label;
  }
  Result<Image> image(int64_t i) const override {
    const std::string& path = entries_[static_cast<size_t>(i)].path;
    SLIPWAY_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
    return DecodeImage(file->bytes(), path);
  }
  std::vector<int64_t> tensor_dims() const override { return dims_; }
  Status tensor(int64_t i, std::span<float> out) const override {
    const std::string& path = entries_[static_cast<size_t>(i)].path;
    SLIPWAY_ASSIGN_OR_RETURN(const NpyArray a, ReadNpy(path));
    if (SampleDims(a) != dims_) {
      return InvalidArgument(path + ": shape " + ShapeText(a.dims) + " differs from " +
                             ShapeText(dims_) + " of the first sample; all must agree");
    }
    NpyToFloat(a, 0, out);
    return OkStatus();
  }
  std::string description() const override { return folder_; }
  std::vector<std::string> files() const override {
    std::vector<std::string> out;
    for (const auto& e : entries_) out.push_back(e.path);
    return out;
  }

  // A saved network input usually has a batch axis of 1.
  static std::vector<int64_t> SampleDims(const NpyArray& a) {
    if (a.dims.size() > 1 && a.dims[0] == 1) return {a.dims.begin() + 1, a.dims.end()};
    return a.dims;
  }

 private:
  std::string folder_;
  std::vector<FileEntry> entries_;
  bool images_;
  std::vector<int64_t> dims_;
};

Result<std::unique_ptr<SampleSource>> FromArrays(std::optional<NpyArray> images,
                                                 std::optional<NpyArray> inputs,
                                                 std::optional<NpyArray> labels,
                                                 const std::string& path,
                                                 std::vector<std::string> files) {
  const bool is_images = images.has_value();
  NpyArray samples = is_images ? std::move(*images) : std::move(*inputs);
  const std::string key = path + (is_images ? ": images" : ": inputs");
  if (is_images) {
    SLIPWAY_RETURN_IF_ERROR(ArraySource::CheckImages(samples, path));
  } else if (samples.dims.size() < 2) {
    return InvalidArgument(path + ": inputs have shape " + ShapeText(samples.dims) +
                           "; expected [N, ...] with one row a sample");
  }
  if (samples.count() == 0) {
    return InvalidArgument(path + ": holds no samples (shape " + ShapeText(samples.dims) +
                           "); give data with at least one");
  }
  std::optional<std::vector<int64_t>> label_values;
  if (labels) {
    SLIPWAY_ASSIGN_OR_RETURN(label_values, LabelsOf(*labels, samples.dims[0], path));
  }
  return std::unique_ptr<SampleSource>(
      new ArraySource(std::move(samples), is_images, std::move(label_values), key,
                      fs::path(path).filename().string(), std::move(files)));
}

Result<std::unique_ptr<SampleSource>> OpenNpz(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(auto arrays, ReadNpz(path));
  std::optional<NpyArray> images, inputs, labels;
  std::vector<std::pair<std::string, NpyArray>> named;
  std::string keys;
  for (auto& [key, array] : arrays) {
    keys += (keys.empty() ? "" : ", ") + key;
    if (key == "images")
      images = std::move(array);
    else if (key == "inputs")
      inputs = std::move(array);
    else if (key == "labels")
      labels = std::move(array);
    else
      named.emplace_back(key, std::move(array));
  }
  if (!images && !inputs && named.empty()) {
    return InvalidArgument(path + ": has no 'images' or 'inputs' (keys: " + keys +
                           "); save with numpy.savez(path, images=..., labels=...), or one array "
                           "an input of the network, under its name");
  }
  if (!images && !inputs) return NamedSource::Make(std::move(named), labels, path);
  return FromArrays(std::move(images), std::move(inputs), std::move(labels), path, {path});
}

Result<std::unique_ptr<SampleSource>> OpenNpyArray(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(NpyArray a, ReadNpy(path));
  const fs::path p(path);
  std::optional<NpyArray> labels;
  std::vector<std::string> files = {path};
  // x_images.npy / x_inputs.npy / x.npy: labels in x_labels.npy or labels.npy beside it.
  std::string stem = p.stem().string();
  std::vector<std::string> names = {stem + "_labels.npy", "labels.npy"};
  for (const char* word : {"images", "inputs"}) {
    if (const size_t at = stem.find(word); at != std::string::npos) {
      std::string name = stem;
      names.insert(names.begin(), name.replace(at, 6, "labels") + ".npy");
    }
  }
  for (const auto& name : names) {
    const fs::path candidate = p.parent_path() / name;
    std::error_code ec;
    if (candidate == p || !fs::is_regular_file(candidate, ec)) continue;
    SLIPWAY_ASSIGN_OR_RETURN(labels, ReadNpy(candidate.string()));
    files.push_back(candidate.string());
    break;
  }
  const bool images = a.dtype == DType::kUInt8 && ArraySource::CheckImages(a, path).ok();
  std::optional<NpyArray> as_images, as_inputs;
  (images ? as_images : as_inputs) = std::move(a);
  return FromArrays(std::move(as_images), std::move(as_inputs), std::move(labels), path, files);
}

Result<std::unique_ptr<SampleSource>> OpenIdx(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(NpyArray images, ReadIdx(path));
  if (images.dims.size() == 1) {
    return InvalidArgument(path + ": holds labels; give the images file (…-images-idx3-ubyte)");
  }
  std::vector<std::string> files = {path};
  std::optional<NpyArray> labels;
  if (const std::string labels_path = FindIdxLabels(path); !labels_path.empty()) {
    SLIPWAY_ASSIGN_OR_RETURN(labels, ReadIdx(labels_path));
    files.push_back(labels_path);
  }
  return FromArrays(std::move(images), std::nullopt, std::move(labels), path, files);
}

Result<std::unique_ptr<SampleSource>> OpenImages(const std::string& folder, bool has_csv,
                                                 std::vector<std::string> images) {
  std::vector<FileEntry> entries;
  if (has_csv) {
    const std::string csv = (fs::path(folder) / "labels.csv").string();
    SLIPWAY_ASSIGN_OR_RETURN(auto rows, ReadLabelsCsv(csv));
    if (rows.empty()) return InvalidArgument(csv + ": names no file; write lines 'file,label'");
    for (size_t i = 0; i < rows.size(); ++i) {
      const fs::path relative(rows[i].file);
      const auto refuse = [&](const std::string& why) {
        return InvalidArgument(csv + ": '" + rows[i].file + "' " + why);
      };
      if (relative.is_absolute()) return refuse("is absolute; name files inside the folder");
      for (const auto& part : relative) {
        if (part == "..") return refuse("leaves the folder; name files inside it");
      }
      const fs::path full = fs::path(folder) / relative;
      std::error_code ec;
      if (!fs::is_regular_file(full, ec))
        return refuse("does not exist; correct or remove its line");
      entries.push_back({full.string(), rows[i].file, rows[i].label});
    }
    if (!IsImageName(entries[0].path) && !entries[0].path.ends_with(".npy")) {
      return Unsupported(entries[0].path + ": labels.csv may name .jpg, .png or .npy files");
    }
  } else {
    for (const auto& name : images) {
      entries.push_back({(fs::path(folder) / name).string(), name, std::nullopt});
    }
  }
  const bool tensors = entries[0].path.ends_with(".npy");
  std::vector<int64_t> dims;
  if (tensors) {
    SLIPWAY_ASSIGN_OR_RETURN(const NpyArray a, ReadNpy(entries[0].path));
    dims = FilesSource::SampleDims(a);
  }
  return std::unique_ptr<SampleSource>(
      new FilesSource(fs::path(folder).filename().string(), std::move(entries), !tensors, dims));
}

Status SeveralSets(const std::string& folder, const std::vector<std::string>& names) {
  return InvalidArgument(folder + ": holds several data sets (" + names[0] + ", " + names[1] +
                         (names.size() > 2 ? ", ..." : "") + "); name one, for example " +
                         (fs::path(folder) / names[0]).string());
}

Result<std::unique_ptr<SampleSource>> OpenFolder(const std::string& folder) {
  std::vector<std::string> npz, npy, idx, images, folders;
  bool has_csv = false;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      const std::string name = entry.path().lexically_relative(folder).string();
      const bool top = name.find('/') == std::string::npos;
      if (entry.path().filename().string().starts_with(".")) continue;
      if (entry.is_directory()) {
        if (top && name != "__MACOSX") folders.push_back(name);
        continue;
      }
      if (top && name == "labels.csv")
        has_csv = true;
      else if (IsImageName(name) && !name.starts_with("__MACOSX"))
        images.push_back(name);
      else if (!top)
        continue;
      else if (name.ends_with(".npz"))
        npz.push_back(name);
      else if (name.ends_with(".npy"))
        npy.push_back(name);
      else if (IsIdxImagesName(name))
        idx.push_back(name);
    }
  } catch (const fs::filesystem_error& e) {
    return Unavailable(folder + ": cannot be listed (" + e.code().message() + ")");
  }
  for (auto* list : {&npz, &npy, &idx, &images}) std::sort(list->begin(), list->end());
  const auto in = [&](const std::string& name) { return (fs::path(folder) / name).string(); };

  if (has_csv) return OpenImages(folder, true, {});
  if (npz.size() > 1) return SeveralSets(folder, npz);
  if (npz.size() == 1) return OpenNpz(in(npz[0]));
  if (idx.size() > 1) return SeveralSets(folder, idx);
  if (idx.size() == 1) return OpenIdx(in(idx[0]));
  for (const char* name : {"images.npy", "inputs.npy"}) {
    if (std::find(npy.begin(), npy.end(), name) != npy.end()) return OpenNpyArray(in(name));
  }
  if (!npy.empty()) return OpenImages(folder, false, npy);
  if (!images.empty()) {
    // One folder around everything (as archives often have): labels.csv may be inside it.
    if (folders.size() == 1 && images[0].starts_with(folders[0] + "/") &&
        images.back().starts_with(folders[0] + "/")) {
      std::error_code ec;
      if (fs::is_regular_file(fs::path(in(folders[0])) / "labels.csv", ec))
        return OpenFolder(in(folders[0]));
    }
    return OpenImages(folder, false, images);
  }
  if (folders.size() == 1) return OpenFolder(in(folders[0]));
  return InvalidArgument(folder +
                         ": no data found; expected .npz, .npy, IDX or image files, "
                         "images with a labels.csv of 'file,label' lines");
}

}  // namespace

Result<Image> SampleSource::image(int64_t) const { return Internal("not an image data set"); }
Status SampleSource::tensor(int64_t, std::span<float>) const {
  return Internal("not a tensor data set");
}

Result<std::vector<CsvLabel>> ReadLabelsCsv(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<CsvLabel> out;
  size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0;
  for (int line = 1; at < text.size(); ++line) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    std::string row = text.substr(at, end - at);
    at = end + 1;
    while (!row.empty() && (row.back() == '\r' || row.back() == ' ')) row.pop_back();
    if (row.empty()) continue;
    const size_t comma = row.rfind(',');
    const auto bad = [&](const std::string& why) {
      return InvalidArgument(path + " line " + std::to_string(line) + ": " + why +
                             "; expected 'file,label' with a whole class number");
    };
    if (comma == std::string::npos) return bad("no comma");
    std::string file = row.substr(0, comma);
    std::string label = row.substr(comma + 1);
    while (!label.empty() && label.front() == ' ') label.erase(0, 1);
    if (line == 1 && file == "file") continue;
    if (file.size() >= 2 && file.front() == '"' && file.back() == '"') {
      std::string plain;
      for (size_t i = 1; i + 1 < file.size(); ++i) {
        plain += file[i];
        if (file[i] == '"' && file[i + 1] == '"') ++i;
      }
      file = plain;
    }
    CsvLabel entry{file, 0};
    const auto [p, ec] = std::from_chars(label.data(), label.data() + label.size(), entry.label);
    if (file.empty() || ec != std::errc() || p != label.data() + label.size()) {
      return bad("'" + label.substr(0, 40) + "' is not a label");
    }
    out.push_back(std::move(entry));
  }
  return out;
}

Result<std::unique_ptr<SampleSource>> OpenSource(const std::string& path) {
  std::error_code ec;
  const auto status = fs::status(path, ec);
  if (status.type() == fs::file_type::not_found) {
    return NotFound(path + ": no such file or folder; check the path of the data");
  }
  if (fs::is_directory(status)) return OpenFolder(path);
  if (path.ends_with(".npz")) return OpenNpz(path);
  if (path.ends_with(".npy")) return OpenNpyArray(path);
  if (IsIdxName(path)) return OpenIdx(path);
  if (IsImageName(path)) {
    const fs::path p(path);
    return OpenImages(p.parent_path().empty() ? "." : p.parent_path().string(), false,
                      {p.filename().string()});
  }
  return Unsupported(
      path + ": not a data set; give a folder, a .zip or .tar, .npz, .npy, an IDX file or images");
}

}  // namespace slipway::data
