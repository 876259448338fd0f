#include "quant/reconstruct/work.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/log.h"

namespace slipway::quant {
namespace {

namespace fs = std::filesystem;

// A folder of the test's own, removed at its end.
struct Folder {
  std::string path =
      (fs::temp_directory_path() / ("work_test-" + std::to_string(::getpid()))).string();
  Folder() { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
};
std::span<const uint8_t> BytesOf(const std::vector<float>& v) {
  return {reinterpret_cast<const uint8_t*>(v.data()), v.size() * sizeof(float)};
}
std::unique_ptr<WorkFolder> Open(const std::string& path) {
  auto work = WorkFolder::Open(path);
  EXPECT_TRUE(work.ok()) << work.status().message();
  return work.ok() ? std::move(*work) : nullptr;
}
std::shared_ptr<const ir::Tensor> Write(WorkFolder& work, const std::string& name) {
  auto writer = work.NewTensor(name);
  EXPECT_TRUE(writer.ok()) << writer.status().message();
  EXPECT_TRUE((*writer)->Append(BytesOf({1, 2, 3, 4})).ok());
  EXPECT_TRUE((*writer)->Append(BytesOf({5, 6})).ok());
  EXPECT_FALSE((*writer)->Finish({4, 2}).ok());  // other extents
  auto t = (*writer)->Finish({3, 2});
  EXPECT_TRUE(t.ok()) << t.status().message();
  return *t;
}
void Damage(const std::string& path, size_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file.seekg(static_cast<std::streamoff>(at)));
  char c = 0;
  file.get(c);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(c ^ 1));
}
const std::vector<double> kSix = {1, 2, 3, 4, 5, 6};

TEST(Work, KeepsTensorsAndRecords) {
  const Folder folder;
  {
    const auto work = Open(folder.path);
    ASSERT_TRUE(work && work->Claim({{"model", "a"}, {"data", "b"}}).ok());
    EXPECT_EQ(Write(*work, "t")->ToDoubles(), kSix);
    EXPECT_EQ(Write(*work, "")->ToDoubles(), kSix);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path), {}), 2);  // key and t
    ASSERT_TRUE(work->SaveRecord("r", "some bytes").ok());
    EXPECT_FALSE(work->FindTensor("nobody"));
    EXPECT_FALSE(work->FindRecord("nobody"));
  }
  std::ofstream(folder.path + "/half.part") << "of a run that was killed";
  const auto work = Open(folder.path);
  ASSERT_TRUE(work && work->Claim({{"model", "a"}, {"data", "b"}}).ok());
  EXPECT_FALSE(fs::exists(folder.path + "/half.part"));
  ASSERT_TRUE(work->FindTensor("t"));
  EXPECT_EQ((*work->FindTensor("t"))->ToDoubles(), kSix);
  EXPECT_EQ((*work->FindTensor("t"))->dims(), Dims({3, 2}));
  EXPECT_EQ(work->FindRecord("r"), "some bytes");
  work->Remove("t");
  EXPECT_FALSE(work->FindTensor("t"));
}

TEST(Work, ForeignFoldersAreRefused) {
  const Folder folder;
  {
    const auto work = Open(folder.path);
    ASSERT_TRUE(work && work->Claim({{"model", "a"}, {"data", "b"}}).ok());
    const auto second = WorkFolder::Open(folder.path);
    EXPECT_NE(second.status().message().find("another process"), std::string::npos);
    const Status other = work->Claim({{"model", "a"}, {"data", "c"}});
    EXPECT_NE(other.message().find("differs in: data)"), std::string::npos) << other.message();
  }
  fs::remove(folder.path + "/key");
  std::ofstream(folder.path + "/mine") << "precious";
  EXPECT_NE(WorkFolder::Open(folder.path).status().message().find("not empty"), std::string::npos);
  std::ofstream(folder.path + "/key") << "door";
  EXPECT_NE(Open(folder.path)->Claim({{"model", "a"}}).message().find("no work folder"),
            std::string::npos);
  EXPECT_TRUE(fs::exists(folder.path + "/mine"));
  EXPECT_FALSE(WorkFolder::Open(folder.path + "/mine/below").ok());
}

TEST(Work, DamageIsNoticed) {
  const Folder folder;
  const auto work = Open(folder.path);
  SetLogSink([](LogLevel, std::string_view) {});
  for (const size_t at : {size_t{0}, size_t{9}, size_t{33}, size_t{41}, size_t{192}, size_t{215}}) {
    SCOPED_TRACE(at);
    Write(*work, "t");
    ASSERT_TRUE(work->FindTensor("t"));
    Damage(folder.path + "/t", at);
    EXPECT_FALSE(work->FindTensor("t"));
  }
  for (const size_t size : {0, 100, 200}) {
    Write(*work, "t");
    fs::resize_file(folder.path + "/t", size);
    EXPECT_FALSE(work->FindTensor("t"));
  }
  for (const size_t at : {0, 8, 12}) {
    ASSERT_TRUE(work->SaveRecord("r", "some bytes").ok());
    Damage(folder.path + "/r", at);
    EXPECT_FALSE(work->FindRecord("r"));
  }
  SetLogSink(nullptr);
}

TEST(Work, TemporaryFoldersLeaveNothing) {
  std::string path;
  {
    const auto work = Open("");
    ASSERT_TRUE(work && work->temporary());
    path = work->path();
    const auto t = Write(*work, "t");
    EXPECT_EQ(t->ToDoubles(), kSix);
    EXPECT_TRUE(fs::is_empty(path));
    EXPECT_TRUE(work->SaveRecord("r", "bytes").ok());
    EXPECT_FALSE(work->FindRecord("r"));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(Work, RecordsReadWhatWasWritten) {
  RecordWriter w;
  w.Number(7), w.Real(0.1), w.Bytes("name");
  w.Tensor(ir::Tensor::Of<int8_t>({2, 2}, std::vector<int8_t>{1, -2, 3, -4}));
  RecordReader r(w.bytes());
  EXPECT_EQ(r.Number(), 7u);
  EXPECT_EQ(r.Real(), 0.1);
  EXPECT_EQ(r.Bytes(), "name");
  EXPECT_EQ(r.Tensor().ToDoubles(), (std::vector<double>{1, -2, 3, -4}));
  EXPECT_TRUE(r.AtEnd());
  // Cut anywhere: not ok, and nothing is read past the end.
  for (size_t size = 0; size < w.bytes().size(); ++size) {
    const std::string part = w.bytes().substr(0, size);
    RecordReader cut(part);
    cut.Number(), cut.Real(), cut.Bytes(), cut.Tensor();
    EXPECT_FALSE(cut.AtEnd()) << size;
  }
}

}  // namespace
}  // namespace slipway::quant
