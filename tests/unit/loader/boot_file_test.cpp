#include "loader/boot_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace bhyve::loader {
namespace {

namespace fs = std::filesystem;

class BootFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = (fs::temp_directory_path() / ("bhyve-boot-file-" + std::to_string(::getpid()))).string();
  }
  void TearDown() override { fs::remove(path_); }
  void fill(usize size) { std::ofstream(path_) << std::string(size, 'x'); }
  std::string path_;
};

TEST_F(BootFileTest, AFileIsReadWholeUpToTheLimit) {
  fill(3 * MiB);
  const Result<BootFile> file = read_boot_file("kernel k", path_, 3 * MiB);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->what, "kernel k");
  EXPECT_EQ(file->bytes, std::vector<u8>(3 * MiB, 'x'));
}

TEST_F(BootFileTest, OneByteOverTheLimitIsRefused) {
  fill(1 * MiB + 1);
  const Result<BootFile> file = read_boot_file("kernel k", path_, 1 * MiB);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, EFBIG);
  EXPECT_EQ(file.error().message, "kernel k: longer than 1 MiB");
}

TEST_F(BootFileTest, AnEndlessFileStopsAtTheLimit) {
  EXPECT_EQ(read_boot_file("kernel z", "/dev/zero", 2 * MiB).error().code, EFBIG);
}

TEST_F(BootFileTest, MissingEmptyAndDirectoryEachHaveTheirSentence) {
  EXPECT_EQ(read_boot_file("initrd i", path_, MiB).error().message,
            "initrd i: No such file or directory");
  fill(0);
  EXPECT_EQ(read_boot_file("initrd i", path_, MiB).error().message, "initrd i: is empty");
  EXPECT_EQ(read_boot_file("initrd i", "/", MiB).error().code, EISDIR);
}

}  // namespace
}  // namespace bhyve::loader
