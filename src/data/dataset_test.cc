#include "data/dataset.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <cmath>

#include "base/log.h"
#include "base/mapped_file.h"
#include "data/data_test_util.h"

namespace slipway::data {
namespace {

class DataFolder : public FolderTest {
 protected:
  void WriteArrays(const std::string& name, std::vector<std::pair<std::string, NpyArray>> arrays) {
    ASSERT_TRUE(WriteNpz(File(name), arrays).ok());
  }
  static NpyArray Images(int64_t n) {
    std::vector<uint8_t> v(static_cast<size_t>(n * 4));
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<uint8_t>(i);
    return MakeArray<uint8_t>({n, 2, 2, 1}, v);
  }
  static std::string Idx(const std::vector<int>& dims, const std::string& bytes) {
    std::string s{'\0', '\0', '\x08', static_cast<char>(dims.size())};
    for (int d : dims) {
      for (int shift : {24, 16, 8, 0}) s += static_cast<char>(d >> shift);
    }
    return s + bytes;
  }
  Status OpenError(const std::string& name, DatasetOptions options = {}) {
    auto set = Dataset::Open(File(name), options);
    return set.ok() ? OkStatus() : set.status();
  }
};

TEST_F(DataFolder, NpzImagesInBatches) {
  WriteArrays("a.npz",
              {{"images", Images(5)}, {"labels", MakeArray<int32_t>({5}, {4, 3, 2, 1, 0})}});
  Write("preprocess.yaml", "scale: 2\nmean: 1\n");
  auto set = Dataset::Open(File("a.npz"));
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 5);
  EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{1, 2, 2}));
  EXPECT_EQ((*set)->Describe(), "5 images 1x2x2 from a.npz, labelled");
  const auto sample = (*set)->Get(1);
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->values, (std::vector<float>{7, 9, 11, 13}));
  EXPECT_EQ(sample->label, 3);
  ThreadPool pool({.threads = 3});
  const auto batch = (*set)->GetBatch(2, 10, &pool);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ(batch->dims, (std::vector<int64_t>{3, 1, 2, 2}));
  EXPECT_EQ(batch->labels, (std::vector<int64_t>{2, 1, 0}));
  EXPECT_EQ(batch->values()[0], 15);
  EXPECT_EQ(batch->values()[11], 37);
  EXPECT_FALSE((*set)->Get(5).ok());
  EXPECT_FALSE((*set)->GetBatch(5, 1).ok());
  // The folder of the file is the same data.
  auto folder = Dataset::Open(folder_->path());
  ASSERT_TRUE(folder.ok()) << folder.status().ToString();
  EXPECT_EQ((*folder)->preprocess().scale, 2);
}

TEST_F(DataFolder, SelectionAndHash) {
  WriteArrays("a.npz", {{"images", Images(7)},
                        {"labels", MakeArray<uint8_t>({7, 1}, {0, 1, 2, 3, 4, 5, 6})}});
  auto odd = Dataset::Open(File("a.npz"), {.first = 1, .step = 2, .count = 2});
  auto all = Dataset::Open(File("a.npz"));
  ASSERT_TRUE(odd.ok() && all.ok());
  EXPECT_EQ((*odd)->size(), 2);
  EXPECT_EQ((*odd)->Get(1)->label, 3);
  EXPECT_NE(*(*odd)->ContentHash(), *(*all)->ContentHash());
  EXPECT_EQ(*(*Dataset::Open(File("a.npz")))->ContentHash(), *(*all)->ContentHash());
  EXPECT_MESSAGE(OpenError("a.npz", {.first = 7}), "7 samples");
}

TEST_F(DataFolder, FilesOfAFolderMayBeLinks) {
  WriteArrays("a.npz", {{"images", Images(3)}});
  const std::string linked = File("linked");
  std::filesystem::create_directory(linked);
  std::filesystem::create_symlink(File("a.npz"), linked + "/b.npz");
  auto set = Dataset::Open(linked);
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 3);
}

TEST_F(DataFolder, InputsAreHandedOverAsTheyAre) {
  WriteArrays("a.npz", {{"inputs", MakeArray<float>({2, 3}, {1, 2, 3, 4, 5, 6})}});
  Preprocess p;
  p.scale = 99;
  auto set = Dataset::Open(File("a.npz"), {.fallback = p});
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_FALSE((*set)->has_labels());
  EXPECT_FALSE((*set)->is_images());
  EXPECT_EQ((*set)->Get(1)->values, (std::vector<float>{4, 5, 6}));
  EXPECT_EQ((*set)->Get(1)->label, std::nullopt);
  EXPECT_MESSAGE(OpenError("a.npz", {.need_labels = true}), "labels.csv");
}

TEST_F(DataFolder, WhereThePreprocessingComesFrom) {
  WriteArrays("a.npz", {{"images", Images(1)}});
  Preprocess fallback, forced;
  fallback.scale = 3;
  forced.scale = 5;
  // The default is told, as a network trained with another one would be measured wrongly.
  static std::string told;
  told.clear();
  SetLogSink([](LogLevel, std::string_view line) { told += line; });
  EXPECT_EQ((*Dataset::Open(File("a.npz"), {.fallback = fallback}))->preprocess().scale, 3);
  EXPECT_EQ(told, "");
  EXPECT_FLOAT_EQ((*Dataset::Open(File("a.npz")))->preprocess().scale, 1.0f / 255);
  EXPECT_NE(told.find("a.npz: no preprocess.yaml"), std::string::npos) << told;
  told.clear();
  Write("preprocess.yaml", "scale: 4\n");
  EXPECT_EQ((*Dataset::Open(File("a.npz"), {.fallback = fallback}))->preprocess().scale, 4);
  EXPECT_EQ((*Dataset::Open(File("a.npz"), {.preprocess = forced, .fallback = fallback}))
                ->preprocess()
                .scale,
            5);
  EXPECT_EQ(told, "");
  SetLogSink(nullptr);
  Write("preprocess.yaml", "scale: 4\nscales: 4\n");
  EXPECT_MESSAGE(OpenError("a.npz"), "preprocess.yaml line 2");
}

TEST_F(DataFolder, IdxPlainAndGzipFindTheirLabels) {
  const std::string images = Idx({2, 2, 2}, "abcdefgh"),
                    labels = Idx({2}, std::string("\x01\x09", 2));
  Write("plain/t10k-images-idx3-ubyte", images);
  Write("plain/t10k-labels-idx1-ubyte", labels);
  gzFile gz = gzopen(File("t10k-images-idx3-ubyte.gz").c_str(), "wb");
  gzwrite(gz, images.data(), static_cast<unsigned>(images.size()));
  gzclose(gz);
  Write("t10k-labels-idx1-ubyte", labels);
  for (const char* name : {"plain", "plain/t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"}) {
    auto set = Dataset::Open(File(name));
    ASSERT_TRUE(set.ok()) << set.status().ToString();
    EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{1, 2, 2}));
    EXPECT_EQ((*set)->Get(1)->label, 9);
    EXPECT_FLOAT_EQ((*set)->Get(1)->values[3], 'h' / 255.0f);
  }
  EXPECT_MESSAGE(OpenError("t10k-labels-idx1-ubyte"), "images file");
  Write("plain/train-images-idx3-ubyte", images);
  EXPECT_MESSAGE(OpenError("plain"), "several data sets");
  Write("bad/x-images-idx3-ubyte", images.substr(0, 20));
  EXPECT_MESSAGE(OpenError("bad"), "download it again");
  const std::string packed = ReadFile(File("t10k-images-idx3-ubyte.gz")).value();
  Write("cut/x-images-idx3-ubyte.gz", packed.substr(0, packed.size() - 9));
  EXPECT_MESSAGE(OpenError("cut"), "gzip");
  Write("less/t10k-images-idx3-ubyte", images);
  Write("less/t10k-labels-idx1-ubyte", Idx({1}, "\x01"));
  EXPECT_MESSAGE(OpenError("less"), "1 labels for 2 samples");
}

TEST_F(DataFolder, OneNpyASampleAndOneNpyForAll) {
  for (int i = 0; i < 3; ++i) {
    const auto a = MakeArray<float>({1, 2}, {static_cast<float>(i), 5});
    ASSERT_TRUE(WriteNpy(File("s" + std::to_string(i) + ".npy"), a.dtype, a.dims, a.bytes).ok());
  }
  auto set = Dataset::Open(folder_->path());
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 3);
  EXPECT_EQ((*set)->Get(2)->values, (std::vector<float>{2, 5}));
  const auto odd = MakeArray<float>({1, 3}, {1, 2, 3});
  ASSERT_TRUE(WriteNpy(File("s1.npy"), odd.dtype, odd.dims, odd.bytes).ok());
  EXPECT_MESSAGE((*set)->GetBatch(0, 3).status(), "s1.npy: shape [1,3]");
  std::filesystem::create_directory(File("all"));
  const auto images = Images(4);
  ASSERT_TRUE(WriteNpy(File("all/images.npy"), images.dtype, images.dims, images.bytes).ok());
  const auto labels = MakeArray<int64_t>({4}, {0, 1, 2, 3});
  ASSERT_TRUE(WriteNpy(File("all/labels.npy"), labels.dtype, labels.dims, labels.bytes).ok());
  auto all = Dataset::Open(File("all"));
  ASSERT_TRUE(all.ok()) << all.status().ToString();
  EXPECT_TRUE((*all)->is_images());
  EXPECT_EQ((*all)->Get(3)->label, 3);
}

TEST_F(DataFolder, OneArrayAnInput) {
  WriteArrays("a.npz", {{"ids", MakeArray<int64_t>({3, 2}, {5, 6, 7, 8, 9, 10})},
                        {"labels", MakeArray<int64_t>({3}, {2, 1, 0})},
                        {"mask", MakeArray<uint8_t>({3}, {1, 0, 1})},
                        {"x", MakeArray<float>({3, 1, 2}, {0.5f, 1, 2, 3, 4, -1})}});
  auto set = Dataset::Open(File("a.npz"), {.first = 1});
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  ASSERT_EQ((*set)->parts().size(), 3u);
  EXPECT_EQ((*set)->parts()[0].name, "ids");
  EXPECT_EQ((*set)->parts()[1].dims, (std::vector<int64_t>{}));
  EXPECT_EQ((*set)->parts()[2].dims, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ((*set)->parts()[2].offset, 3);
  EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{5}));
  EXPECT_FALSE((*set)->is_images());
  const auto sample = (*set)->Get(1);
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->values, (std::vector<float>{9, 10, 1, 4, -1}));
  EXPECT_EQ(sample->label, 0);
  EXPECT_EQ((*set)->Describe(), "2 tensors ids 2, mask, x 1x2 from a.npz, labelled");
  // With `inputs` or `images` it is a set of those alone.
  WriteArrays("b.npz", {{"images", Images(3)}, {"ids", MakeArray<int64_t>({2}, {5, 6})}});
  set = Dataset::Open(File("b.npz"));
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_TRUE((*set)->parts().empty());
}

TEST_F(DataFolder, ErrorsNameTheThing) {
  std::filesystem::create_directory(File("empty"));
  EXPECT_MESSAGE(OpenError("empty"), "no data found");
  EXPECT_MESSAGE(OpenError("nowhere"), "no such file");
  Write("x.bin", "?");
  EXPECT_MESSAGE(OpenError("x.bin"), "not a data set");
  WriteArrays("keys.npz", {{"labels", MakeArray<int64_t>({2}, {0, 10})}});
  EXPECT_MESSAGE(OpenError("keys.npz"), "keys: labels");
  WriteArrays("rows.npz", {{"a", Images(3)}, {"b", Images(2)}});
  EXPECT_MESSAGE(OpenError("rows.npz"), "'b' has 2 samples, 'a' has 3");
  WriteArrays("scalar.npz", {{"a", MakeArray<float>({}, {1})}});
  EXPECT_MESSAGE(OpenError("scalar.npz"), "array 'a' has shape []");
  WriteArrays("nothing.npz", {{"a", Images(3)}, {"b", MakeArray<float>({3, 0}, {})}});
  EXPECT_MESSAGE(OpenError("nothing.npz"), "array 'b' has no elements");
  WriteArrays("shape.npz",
              {{"images", MakeArray<uint8_t>({2, 2, 2, 2}, std::vector<uint8_t>(16))}});
  EXPECT_MESSAGE(OpenError("shape.npz"), "[2,2,2,2]");
  WriteArrays("float.npz", {{"images", MakeArray<float>({1, 2, 2, 3}, std::vector<float>(12))}});
  EXPECT_MESSAGE(OpenError("float.npz"), "uint8");
  WriteArrays("none.npz", {{"images", MakeArray<uint8_t>({0, 2, 2, 3}, {})}});
  EXPECT_MESSAGE(OpenError("none.npz"), "no samples");
  WriteArrays("range.npz", {{"images", Images(2)}, {"labels", MakeArray<int64_t>({2}, {0, 10})}});
  EXPECT_MESSAGE(OpenError("range.npz", {.num_classes = 10}),
                 "label 10 is out of range; the model has classes 0 to 9");
  WriteArrays("negative.npz", {{"images", Images(1)}, {"labels", MakeArray<int64_t>({1}, {-1})}});
  EXPECT_MESSAGE(OpenError("negative.npz"), "label -1");
  WriteArrays("part.npz", {{"images", Images(1)}, {"labels", MakeArray<float>({1}, {0.5f})}});
  EXPECT_MESSAGE(OpenError("part.npz"), "whole class numbers");
}

TEST_F(DataFolder, LabelsCsv) {
  const std::string photo = SharedData("photos/2.jpg");
  SKIP_WITHOUT(photo);
  std::filesystem::create_directory(File("d"));
  std::filesystem::copy(photo, File("d/a, b.jpg"));
  std::filesystem::copy(photo, File("d/c.jpg"));
  Write("d/labels.csv", "file,label\r\n\"a, b.jpg\",3\r\nc.jpg, 1\r\n\n");
  auto set = Dataset::Open(File("d"));
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 2);
  EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{3, 484, 1024}));
  EXPECT_EQ((*set)->Get(1)->label, 1);
  Write("d/labels.csv", "c.jpg,one\n");
  EXPECT_MESSAGE(OpenError("d"), "labels.csv line 1: 'one' is not a label");
  Write("d/labels.csv", "file,label\n../d/c.jpg,1\n");
  EXPECT_MESSAGE(OpenError("d"), "leaves the folder");
  Write("d/labels.csv", "file,label\nx.jpg,1\n");
  EXPECT_MESSAGE(OpenError("d"), "'x.jpg' does not exist");
  Write("d/labels.csv", "file,label\n");
  EXPECT_MESSAGE(OpenError("d"), "names no file");
  const std::string bytes = ReadFile(photo).value();
  Write("d/cut.jpg", bytes.substr(0, bytes.size() / 2));
  Write("d/labels.csv", "file,label\nc.jpg,1\ncut.jpg,1\n");
  auto damaged = Dataset::Open(File("d"));
  ASSERT_TRUE(damaged.ok());
  EXPECT_MESSAGE((*damaged)->GetBatch(0, 2).status(), "cut.jpg: damaged image");
}

TEST_F(DataFolder, ImagesOfDifferentSizesNeedAResize) {
  const std::string a = SharedData("photos/2.jpg"), b = SharedData("photos/3.jpg");
  SKIP_WITHOUT(a);
  std::filesystem::create_directory(File("d"));
  std::filesystem::copy(a, File("d/a.jpg"));
  std::filesystem::copy(b, File("d/b.jpg"));
  auto set = Dataset::Open(File("d"));
  ASSERT_TRUE(set.ok());
  EXPECT_MESSAGE((*set)->Get(1).status(), "set resize and crop");
  Preprocess p;
  p.resize = {64};
  p.crop = {48, 56};
  auto fixed = Dataset::Open(File("d"), {.preprocess = p});
  ASSERT_TRUE(fixed.ok());
  EXPECT_EQ((*fixed)->GetBatch(0, 2)->dims, (std::vector<int64_t>{2, 3, 48, 56}));
}

void WriteTar(const std::string& path, const std::string& member, const std::string& content,
              const std::string& link = "") {
  archive* a = archive_write_new();
  archive_write_set_format_pax_restricted(a);
  archive_write_add_filter_gzip(a);
  archive_write_open_filename(a, path.c_str());
  archive_entry* e = archive_entry_new();
  archive_entry_set_pathname(e, member.c_str());
  archive_entry_set_perm(e, 0644);
  if (link.empty()) {
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_size(e, static_cast<la_int64_t>(content.size()));
  } else {
    archive_entry_set_filetype(e, AE_IFLNK);
    archive_entry_set_symlink(e, link.c_str());
  }
  archive_write_header(a, e);
  archive_write_data(a, content.data(), content.size());
  archive_entry_free(e);
  archive_write_close(a);
  archive_write_free(a);
}

TEST_F(DataFolder, ArchivesAreUnpackedAndRemoved) {
  const auto images = Images(3);
  WriteArrays("inner.npz", {{"images", images}});
  const std::vector<std::pair<std::string, std::string>> members = {
      {"set/data.npz", ReadFile(File("inner.npz")).value()}, {"set/preprocess.yaml", "scale: 7\n"}};
  ASSERT_TRUE(WriteZip(File("a.zip"), members).ok());
  std::string sample;
  {
    auto set = Dataset::Open(File("a.zip"));
    ASSERT_TRUE(set.ok()) << set.status().ToString();
    EXPECT_EQ((*set)->size(), 3);
    EXPECT_EQ((*set)->preprocess().scale, 7);
    sample = (*set)->Get(0)->name;
    EXPECT_TRUE(std::filesystem::exists(sample.substr(0, sample.find(": "))));
  }
  EXPECT_FALSE(std::filesystem::exists(sample.substr(0, sample.find(": "))));
  WriteTar(File("b.tar.gz"), "data.npz", ReadFile(File("inner.npz")).value());
  auto tar = Dataset::Open(File("b.tar.gz"));
  ASSERT_TRUE(tar.ok()) << tar.status().ToString();
  EXPECT_EQ((*tar)->size(), 3);
}

TEST_F(DataFolder, HostileArchivesAreRefused) {
  const auto extract = [&](const std::string& name, ArchiveLimits limits = {}) {
    const std::string to = File("out");
    std::filesystem::remove_all(to);
    std::filesystem::create_directory(to);
    return ExtractArchive(File(name), to, limits);
  };
  WriteTar(File("up.tar.gz"), "a/../../evil", "x");
  EXPECT_MESSAGE(extract("up.tar.gz"), "leaves the folder");
  EXPECT_FALSE(std::filesystem::exists(File("evil")));
  WriteTar(File("absolute.tar.gz"), "/tmp/evil", "x");
  EXPECT_MESSAGE(extract("absolute.tar.gz"), "absolute");
  WriteTar(File("link.tar.gz"), "a", "", "/etc/passwd");
  EXPECT_MESSAGE(extract("link.tar.gz"), "is a link");
  WriteTar(File("bomb.tar.gz"), "zeros", std::string(80 << 20, '\0'));
  EXPECT_EQ(extract("bomb.tar.gz", {.max_ratio = 500}).code(), StatusCode::kResourceExhausted);
  EXPECT_MESSAGE(extract("bomb.tar.gz", {.max_bytes = 1 << 20}), "unpacks to more than");
  const std::vector<std::pair<std::string, std::string>> many = {
      {"a", "1"}, {"b", "2"}, {"c", "3"}};
  ASSERT_TRUE(WriteZip(File("many.zip"), many).ok());
  EXPECT_MESSAGE(extract("many.zip", {.max_members = 2}), "more than 2 members");
  const std::string whole = ReadFile(File("many.zip")).value();
  Write("cut.tar.gz", ReadFile(File("bomb.tar.gz")).value().substr(0, 3000));
  EXPECT_EQ(extract("cut.tar.gz").code(), StatusCode::kDataLoss);
  Write("text.zip", "hello");
  EXPECT_FALSE(extract("text.zip").ok());
}

TEST(RealData, Cifar10) {
  const std::string path = SharedData("cifar10/test.npz");
  SKIP_WITHOUT(path);
  auto set = Dataset::Open(path, {.num_classes = 10, .need_labels = true});
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 5000);
  EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{3, 32, 32}));
  const auto s = (*set)->Get(3);
  double sum = 0;
  for (float v : s->values) sum += static_cast<double>(v) * 255;
  EXPECT_NEAR(sum, 472112, 1);
  EXPECT_EQ(s->label, 2);
  const auto last = (*set)->Get(4999);
  EXPECT_NEAR(static_cast<double>(last->values[1023]) * 255, 37, 1e-3);
  EXPECT_NEAR(static_cast<double>(last->values[3071]) * 255, 29, 1e-3);
}

TEST(RealData, ImagenetSample) {
  const std::string path = SharedData("imagenet_sample");
  SKIP_WITHOUT(path);
  auto set = Dataset::Open(path, {.num_classes = 1000, .need_labels = true});
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 1000);
  EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{3, 224, 224}));
  ThreadPool pool({.threads = 2});
  const auto batch = (*set)->GetBatch(990, 64, &pool);
  ASSERT_TRUE(batch.ok()) << batch.status().ToString();
  EXPECT_EQ(batch->dims[0], 10);
  for (float v : batch->values()) ASSERT_LT(std::fabs(v), 3);
}

TEST(RealData, FashionMnist) {
  const std::string path = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz";
  SKIP_WITHOUT(path);
  auto set = Dataset::Open(path, {.num_classes = 10, .need_labels = true});
  ASSERT_TRUE(set.ok()) << set.status().ToString();
  EXPECT_EQ((*set)->size(), 10000);
  EXPECT_EQ((*set)->sample_dims(), (std::vector<int64_t>{1, 28, 28}));
  const auto batch = (*set)->GetBatch(0, 8);
  EXPECT_EQ(batch->labels, (std::vector<int64_t>{9, 2, 1, 1, 6, 1, 4, 6}));
}

}  // namespace
}  // namespace slipway::data
