#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace bhyve::api {

/// A run directory of its own for each test.
class RunDirTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "bhyve-run-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    base_ = path;
    run_ = base_ / "run";
    ::setenv("BHYVE_RUNDIR", run_.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("BHYVE_RUNDIR");
    std::filesystem::remove_all(base_);
  }
  std::filesystem::path base_, run_;
};

}  // namespace bhyve::api
