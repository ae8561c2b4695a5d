#include "api/vm_directory.hpp"

#include <sys/stat.h>

#include <fstream>

#include "bhyve/vm.hpp"
#include "run_dir_fixture.hpp"

namespace bhyve::api {
namespace {

using Mode = VmDirectory::Mode;
namespace fs = std::filesystem;

class VmDirectoryTest : public RunDirTest {};

TEST(VmName, RulesOfTheRunDirectory) {
  EXPECT_TRUE(check_vm_name("vm0"));
  EXPECT_TRUE(check_vm_name(std::string(229, 'a')));
  EXPECT_TRUE(check_vm_name("a.b-c d"));
  for (const std::string& name :
       {std::string(), std::string(230, 'a'), std::string("../x"), std::string("a/b"),
        std::string(".x"), std::string("-x"), std::string("a\nb"), std::string("a\0b", 3)})
    EXPECT_FALSE(check_vm_name(name)) << name;
}

TEST(VmName, RefusalStaysOneLine) {
  EXPECT_EQ(check_vm_name("/\n").error().message.find('\n'), std::string::npos);
}

TEST_F(VmDirectoryTest, OnlyOneHolderAtATime) {
  auto first = VmDirectory::acquire("vm0", Mode::open_or_create);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->created());
  const auto second = VmDirectory::acquire("vm0", Mode::open_or_create);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EBUSY);
}

TEST_F(VmDirectoryTest, LockEndsWithItsHolder) {
  ASSERT_TRUE(VmDirectory::acquire("vm0", Mode::create));
  const auto again = VmDirectory::acquire("vm0", Mode::open);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->created());
}

TEST_F(VmDirectoryTest, ModesTellPresenceFromAbsence) {
  EXPECT_EQ(VmDirectory::acquire("vm0", Mode::open).error().code, ENOENT);
  ASSERT_TRUE(VmDirectory::acquire("vm0", Mode::create));
  EXPECT_EQ(VmDirectory::acquire("vm0", Mode::create).error().code, EEXIST);
}

TEST_F(VmDirectoryTest, DestroyLeavesNothing) {
  auto vm = VmDirectory::acquire("vm0", Mode::create);
  ASSERT_TRUE(vm);
  ASSERT_TRUE(vm->write_config(Config()));
  ASSERT_TRUE(vm->write_state("stopped"));
  ASSERT_TRUE(vm->listen());
  ASSERT_TRUE(vm->destroy());
  EXPECT_TRUE(fs::is_empty(run_));
}

TEST_F(VmDirectoryTest, DestroyKeepsForeignFilesAndEverythingElse) {
  auto vm = VmDirectory::acquire("vm0", Mode::create);
  ASSERT_TRUE(vm);
  std::ofstream(run_ / "vm0" / "letter") << "mine";
  const auto gone = vm->destroy();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ENOTEMPTY);
  EXPECT_NE(gone.error().message.find("'letter'"), std::string::npos);
  EXPECT_TRUE(fs::exists(run_ / "vm0" / "lock"));
}

TEST_F(VmDirectoryTest, RemovedDirectoryIsNotTakenForTheNewOne) {
  auto old = VmDirectory::acquire("vm0", Mode::create);
  ASSERT_TRUE(old);
  ASSERT_TRUE(old->destroy());
  const auto fresh = VmDirectory::acquire("vm0", Mode::create);
  EXPECT_TRUE(fresh) << fresh.error().message;
}

TEST_F(VmDirectoryTest, LeftoversOfACrashAreCleanedUp) {
  {
    auto vm = VmDirectory::acquire("vm0", Mode::create);
    ASSERT_TRUE(vm);
    ASSERT_TRUE(vm->write_state("running"));
    ASSERT_TRUE(vm->listen());
    std::ofstream(run_ / "vm0" / "state.new") << "runn";
  }
  const auto vms = list_vms();
  ASSERT_TRUE(vms);
  ASSERT_EQ(vms->size(), 1u);
  EXPECT_TRUE(vms->front().crashed);
  EXPECT_FALSE(vms->front().running);
  auto vm = VmDirectory::acquire("vm0", Mode::open);
  ASSERT_TRUE(vm);
  EXPECT_FALSE(fs::exists(run_ / "vm0" / "state.new"));
  EXPECT_TRUE(vm->listen());
}

TEST_F(VmDirectoryTest, LookingDoesNotTakeTheLock) {
  const auto vm = VmDirectory::acquire("vm0", Mode::create);
  ASSERT_TRUE(vm);
  const auto peek = peek_vm("vm0");
  ASSERT_TRUE(peek);
  EXPECT_TRUE(peek->exists);
  EXPECT_TRUE(peek->locked);
  EXPECT_FALSE(peek_vm("vm1")->exists);
}

TEST_F(VmDirectoryTest, ConfigurationComesBack) {
  auto vm = VmDirectory::acquire("vm0", Mode::create);
  ASSERT_TRUE(vm);
  Config config;
  config.set("cpus", "2");
  config.set("boot.cmdline", "a=\"b\" \\ \x01");
  ASSERT_TRUE(vm->write_config(config));
  EXPECT_EQ(peek_vm("vm0")->config.variables(), config.variables());
}

TEST_F(VmDirectoryTest, DamagedConfigurationIsAnEmptyOne) {
  const auto vm = VmDirectory::acquire("vm0", Mode::create);
  ASSERT_TRUE(vm);
  for (const char* text : {"", "{", "[]", "{\"variables\": 3}", "{\"variables\": {\"a\": 1}}"}) {
    std::ofstream(run_ / "vm0" / "config") << text;
    EXPECT_TRUE(peek_vm("vm0")->config.variables().empty()) << text;
  }
}

TEST_F(VmDirectoryTest, LongestNameHasAControlSocket) {
  auto vm = VmDirectory::acquire(std::string(229, 'n'), Mode::create);
  ASSERT_TRUE(vm);
  EXPECT_TRUE(vm->listen());
}

TEST_F(VmDirectoryTest, RunDirectoryThatOthersMayWriteToIsRefused) {
  fs::create_directory(run_);
  ASSERT_EQ(::chmod(run_.c_str(), 0777), 0);
  EXPECT_EQ(VmDirectory::acquire("vm0", Mode::create).error().code, EPERM);
}

TEST_F(VmDirectoryTest, RunDirectoryThatIsALinkIsRefused) {
  fs::create_directory(base_ / "other");
  fs::create_symlink(base_ / "other", run_);
  EXPECT_FALSE(VmDirectory::acquire("vm0", Mode::create));
}

TEST_F(VmDirectoryTest, CreateListDestroy) {
  Config config;
  config.set("name", "vm0");
  config.set("memory.size", "1G");
  ASSERT_TRUE(create_vm(config));
  EXPECT_EQ(create_vm(config).error().code, EEXIST);
  ASSERT_EQ(list_vms()->size(), 1u);
  EXPECT_EQ(list_vms()->front().memory, "1G");
  ASSERT_TRUE(destroy_vm("vm0"));
  EXPECT_EQ(destroy_vm("vm0").error().code, ENOENT);
}

}  // namespace
}  // namespace bhyve::api
