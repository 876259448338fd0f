#include "data/dataset.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>

#include "base/checked.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "data/archive.h"
#include "data/dataset_sources.h"

namespace slipway::data {
namespace {

namespace fs = std::filesystem;

// preprocess.yaml in the folder, beside the file, or one folder down in a wrapped archive.
Result<std::optional<Preprocess>> FindPreprocess(const std::string& path,
                                                 const std::vector<std::string>& files) {
  std::vector<fs::path> places;
  std::error_code ec;
  places.push_back(fs::is_directory(path, ec) ? fs::path(path) : fs::path(path).parent_path());
  if (!files.empty()) places.push_back(fs::path(files[0]).parent_path());
  for (const auto& place : places) {
    const fs::path file = place / "preprocess.yaml";
    if (!fs::is_regular_file(file, ec)) continue;
    SLIPWAY_ASSIGN_OR_RETURN(auto p, ReadPreprocess(file.string()));
    return std::optional<Preprocess>(std::move(p));
  }
  return std::optional<Preprocess>();
}

}  // namespace

Dataset::~Dataset() = default;

bool Dataset::is_images() const { return source_->is_images(); }

Result<std::unique_ptr<Dataset>> Dataset::Open(const std::string& path,
                                               const DatasetOptions& options) {
  if (options.first < 0 || options.step < 1 || options.count < 0) {
    return InvalidArgument("data selection: first and count must be >= 0 and step >= 1");
  }
  std::unique_ptr<Dataset> set(new Dataset);
  set->path_ = path;
  std::string opened = path;
  std::error_code ec;
  if (IsArchiveName(path) && fs::is_regular_file(path, ec)) {
    SLIPWAY_ASSIGN_OR_RETURN(auto folder, TemporaryFolder::Create());
    SLIPWAY_RETURN_IF_ERROR(ExtractArchive(path, folder->path()));
    opened = folder->path();
    set->temporary_ = std::shared_ptr<TemporaryFolder>(std::move(folder));
  }
  SLIPWAY_ASSIGN_OR_RETURN(set->source_, OpenSource(opened));
  SampleSource& source = *set->source_;

  if (options.preprocess) {
    set->preprocess_ = *options.preprocess;
  } else if (source.is_images()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto found, FindPreprocess(opened, source.files()));
    if (!found && opened != path) {
      SLIPWAY_ASSIGN_OR_RETURN(found, FindPreprocess(path, {}));
    }
    if (!found && !options.fallback)
      Log(LogLevel::kWarning,
          path + ": no preprocess.yaml lies with the images and none was given; " +
              "the network gets pixel / 255, without mean and deviation; lay one "
              "beside them or give --preprocess (docs/data.md)");
    set->preprocess_ = found ? *found : options.fallback.value_or(Preprocess{});
  }

  const int64_t total = source.size();
  if (options.first >= total) {
    return InvalidArgument(path + ": has " + std::to_string(total) +
                           " samples; none is left from " + std::to_string(options.first) + " on");
  }
  set->first_ = options.first;
  set->step_ = options.step;
  set->count_ = CeilDiv(total - options.first, options.step);
  if (options.count > 0) set->count_ = std::min(set->count_, options.count);

  set->has_labels_ = source.label(set->first_).has_value();
  if (options.need_labels && !set->has_labels_) {
    return InvalidArgument(path +
                           ": has no labels; add a labels.csv with 'file,label' lines, a 'labels' "
                           "array or the IDX labels file beside it");
  }
  for (int64_t i = 0; set->has_labels_ && i < set->count_; ++i) {
    const auto label = source.label(set->SourceIndex(i));
    if (*label < 0 || (options.num_classes > 0 && *label >= options.num_classes)) {
      return InvalidArgument(source.name(set->SourceIndex(i)) + ": label " +
                             std::to_string(*label) + " is out of range" +
                             (options.num_classes > 0 ? "; the model has classes 0 to " +
                                                            std::to_string(options.num_classes - 1)
                                                      : "; classes count from 0"));
    }
  }

  if (source.is_images()) {
    SLIPWAY_ASSIGN_OR_RETURN(const Image first, source.image(set->first_));
    SLIPWAY_ASSIGN_OR_RETURN(set->dims_, OutputDims(set->preprocess_, first.height, first.width,
                                                    first.channels, source.name(set->first_)));
  } else {
    set->dims_ = source.tensor_dims();
    set->parts_ = source.parts();
  }
  const auto elements = CheckedCount(set->dims_);
  if (!elements || *elements == 0) return InvalidArgument(path + ": samples have no elements");
  set->elements_ = *elements;
  return set;
}

std::string Dataset::Describe() const {
  std::string s = std::to_string(count_) + (is_images() ? " images " : " tensors ");
  const auto extents = [](const std::vector<int64_t>& dims) {
    std::string text;
    for (size_t i = 0; i < dims.size(); ++i) text += (i ? "x" : "") + std::to_string(dims[i]);
    return text;
  };
  if (parts_.empty()) s += extents(dims_);
  for (size_t i = 0; i < parts_.size(); ++i)
    s += (i ? ", " : "") + parts_[i].name +
         (parts_[i].dims.empty() ? "" : " " + extents(parts_[i].dims));
  return s + " from " + fs::path(path_).filename().string() +
         (has_labels_ ? ", labelled" : ", unlabelled");
}

Status Dataset::Load(int64_t i, std::span<float> out, int64_t* label) const {
  if (i < 0 || i >= count_) return InvalidArgument(path_ + ": no sample " + std::to_string(i));
  if (static_cast<int64_t>(out.size()) != elements_)
    return InvalidArgument(path_ + ": wrong room for a sample");
  const int64_t index = SourceIndex(i);
  if (label) *label = source_->label(index).value_or(-1);
  if (!source_->is_images()) return source_->tensor(index, out);
  SLIPWAY_ASSIGN_OR_RETURN(const Image image, source_->image(index));
  return Apply(preprocess_, image, source_->name(index), out);
}

Result<Sample> Dataset::Get(int64_t i) const {
  Sample s;
  s.dims = dims_;
  s.values.resize(static_cast<size_t>(elements_));
  int64_t label = -1;
  SLIPWAY_RETURN_IF_ERROR(Load(i, s.values, &label));
  s.name = source_->name(SourceIndex(i));
  if (has_labels_) s.label = label;
  return s;
}

Status Dataset::LoadBatch(int64_t begin, int64_t count, std::span<float> out,
                          std::vector<int64_t>* labels, ThreadPool* pool) const {
  if (begin < 0 || count < 1 || begin > count_ - count) {
    return InvalidArgument(path_ + ": no samples " + std::to_string(begin) + " to " +
                           std::to_string(begin + count - 1));
  }
  if (static_cast<int64_t>(out.size()) != count * elements_) {
    return InvalidArgument(path_ + ": wrong room for a batch");
  }
  if (labels) labels->assign(has_labels_ ? static_cast<size_t>(count) : 0, -1);
  std::mutex mutex;
  int64_t failed = count;
  Status status;
  const auto body = [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      int64_t label;
      Status s = Load(
          begin + i,
          out.subspan(static_cast<size_t>(i * elements_), static_cast<size_t>(elements_)), &label);
      if (!s.ok()) {  // the first in order is reported, whatever the threads do
        std::lock_guard<std::mutex> lock(mutex);
        if (i < failed) {
          failed = i;
          status = std::move(s);
        }
        return;
      }
      if (labels && has_labels_) (*labels)[static_cast<size_t>(i)] = label;
    }
  };
  if (pool)
    pool->ParallelFor(count, 1, body);
  else
    body(0, count);
  return status;
}

Result<Batch> Dataset::GetBatch(int64_t begin, int64_t count, ThreadPool* pool) const {
  if (begin < 0 || begin >= count_ || count < 1) {
    return InvalidArgument(path_ + ": no sample " + std::to_string(begin));
  }
  count = std::min(count, count_ - begin);
  Batch b;
  b.dims = dims_;
  b.dims.insert(b.dims.begin(), count);
  const auto bytes = CheckedBytes(DType::kFloat32, b.dims);
  if (!bytes) return ResourceExhausted(path_ + ": the batch is too large; use fewer samples");
  b.bytes = AlignedBuffer(static_cast<size_t>(*bytes));
  if (!b.bytes.data())
    return ResourceExhausted(path_ + ": no memory for the batch; use fewer samples");
  SLIPWAY_RETURN_IF_ERROR(
      LoadBatch(begin, count,
                {reinterpret_cast<float*>(b.bytes.data()), static_cast<size_t>(count * elements_)},
                &b.labels, pool));
  return b;
}

Result<std::string> Dataset::ContentHash() const {
  Sha256 hash;
  for (const auto& file : source_->files()) {
    SLIPWAY_ASSIGN_OR_RETURN(auto mapped, MappedFile::Open(file));
    hash.Update(fs::path(file).filename().string() + "\n" + std::to_string(mapped->bytes().size()) +
                "\n");
    hash.Update(mapped->bytes());
  }
  for (int64_t i = 0; has_labels_ && i < count_; ++i) {
    hash.Update(std::to_string(*source_->label(SourceIndex(i))) + ",");
  }
  hash.Update((is_images() ? PreprocessToYaml(preprocess_) : std::string()) +
              std::to_string(first_) + " " + std::to_string(step_) + " " + std::to_string(count_));
  return ToHex(hash.Finish());
}

}  // namespace slipway::data
