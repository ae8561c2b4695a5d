#pragma once
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "engine/soft/direct/user_nursery.hpp"
#include "engine/soft/replay/fpu.hpp"

namespace bhyve::soft {

/// A nursery with one process, a page of code and one of data of a small memory file.
class UserProcessTest : public testing::Test {
 protected:
  using Why = UserProcess::Why;
  static constexpr u64 code = 0x40'0000, data = 0x60'0000, code_offset = 0x2000, data_offset = 0x5000,
                       memory_bytes = 16 * page_size;
  static constexpr u32 vcpus = 2;

  void SetUp() override {
    memory.reset(::memfd_create("guest", MFD_CLOEXEC));
    ASSERT_TRUE(memory);
    ASSERT_EQ(::ftruncate(memory.get(), memory_bytes), 0);
    void* at = ::mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
    ASSERT_NE(at, MAP_FAILED);
    ram = static_cast<u8*>(at);
    auto made = UserNursery::create(memory.get(), vcpus);
    ASSERT_TRUE(made) << made.error().message;
    nursery = std::move(*made);
    process = spawn();
    ASSERT_TRUE(process);
    xsave.resize(XsaveLayout::host().size);
    const u16 control = 0x37f;
    const u32 mxcsr = 0x1f80;
    std::memcpy(&xsave[0], &control, sizeof control);
    std::memcpy(&xsave[24], &mxcsr, sizeof mxcsr);
    std::memcpy(&xsave[28], "\xff\xff\0\0", 4);
    xsave[512] = 3;  // x87 and SSE
  }
  void TearDown() override {
    process.reset();
    nursery.reset();
    if (ram) ::munmap(ram, memory_bytes);
  }

  std::unique_ptr<UserProcess> spawn(VcpuId vcpu = 0) {
    auto made = nursery->spawn(vcpu);
    EXPECT_TRUE(made) << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  void put(u64 offset, const std::vector<u8>& bytes) { std::memcpy(ram + offset, bytes.data(), bytes.size()); }
  /// Has `bytes` mapped as code, and data writable.
  void load(const std::vector<u8>& bytes) {
    put(code_offset, bytes);
    process->map(code, page_size, code_offset, false, true);
    process->map(data, page_size, data_offset, true, false);
    ASSERT_TRUE(process->apply());
    registers = {};
    registers.rip = code;
    registers.eflags = 0x202;
    registers.rsp = data + page_size - 64;
  }
  /// With the vector registers of `xsave`, and back.
  UserProcess::Stop run() {
    if (!process->take_over(xsave)) return {};
    const UserProcess::Stop stop = process->run(registers);
    return process->bring_back(xsave) ? stop : UserProcess::Stop{};
  }
  UserProcess::Stop run(const std::vector<u8>& bytes) {
    load(bytes);
    return run();
  }
  static bool exists(pid_t pid) { return ::access(("/proc/" + std::to_string(pid)).c_str(), F_OK) == 0; }
  /// Lines of /proc/PID/maps but for that of the vsyscall page, which every process of the host has.
  static std::vector<std::string> mappings(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/maps");
    std::vector<std::string> all;
    for (std::string line; std::getline(file, line);)
      if (line.find("[vsyscall]") == std::string::npos) all.push_back(line);
    return all;
  }

  UniqueFd memory;
  u8* ram = nullptr;
  std::unique_ptr<UserNursery> nursery;
  std::unique_ptr<UserProcess> process;
  user_regs_struct registers{};
  std::vector<u8> xsave;
};

}  // namespace bhyve::soft
