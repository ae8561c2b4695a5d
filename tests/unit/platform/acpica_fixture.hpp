#pragma once
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "table_checks.hpp"

namespace bhyve::platform {

/// Runs ACPICA's tools on files of a folder of its own.
class Acpica : public ::testing::Test {
 protected:
  struct Outcome {
    int status = -1;
    std::string output;
  };

  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "bhyve-acpica-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// Of a shell command in the folder.
  Outcome run(const std::string& command) {
    Outcome outcome;
    FILE* pipe = ::popen(("cd '" + directory_.string() + "' && " + command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return outcome;
    std::array<char, 4096> chunk{};
    while (const usize n = std::fread(chunk.data(), 1, chunk.size(), pipe)) {
      outcome.output.append(chunk.data(), n);
    }
    const int raw = ::pclose(pipe);
    if (WIFEXITED(raw)) outcome.status = WEXITSTATUS(raw);
    return outcome;
  }

  void write(const std::string& name, std::span<const u8> bytes) {
    std::ofstream(directory_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }

  std::filesystem::path directory_;
};

}  // namespace bhyve::platform
