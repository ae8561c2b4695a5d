#pragma once
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "../loader/synthetic_bzimage.hpp"
#include "machine/machine.hpp"

namespace bhyve::api {

/// A whole machine that was made and does not run; its kernel is no program. nullptr after a failure
/// of the test.
inline std::unique_ptr<machine::Machine> make_idle_machine(unsigned vcpus) {
  std::string path = testing::TempDir() + "bhyve-kernel-XXXXXX";
  const int fd = ::mkstemp(path.data());
  if (fd < 0) return nullptr;
  ::close(fd);
  const auto image = loader::synthetic_bzimage();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  Config config;
  config.set("name", "vm0");
  config.set("cpus", std::to_string(vcpus));
  config.set("memory.size", "64M");
  config.set("boot.kernel", path);
  auto made = machine::Machine::create(config, nullptr);
  ::unlink(path.c_str());
  EXPECT_TRUE(made) << made.error().message;
  return made ? std::move(*made) : nullptr;
}

}  // namespace bhyve::api
