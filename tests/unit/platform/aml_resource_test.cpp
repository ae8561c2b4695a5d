#include "platform/aml_resource.hpp"

#include <gtest/gtest.h>

namespace bhyve::platform::aml {
namespace {

TEST(AmlResource, IoDecodesSixteenBitsAtAFixedPort) {
  EXPECT_EQ(io(0x3f8, 8), (Term{0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8}));
}

TEST(AmlResource, IrqMasksAreLittleEndianAtOffsetOne) {
  EXPECT_EQ(irq(0x1010), (Term{0x22, 0x10, 0x10}));
  EXPECT_EQ(irq_level_shared(0x0620), (Term{0x23, 0x20, 0x06, 0x18}));
}

TEST(AmlResource, ExtendedInterruptIsALevelLowSharedConsumer) {
  EXPECT_EQ(interrupt_level_shared(20), (Term{0x89, 6, 0, 0x0d, 1, 20, 0, 0, 0}));
}

TEST(AmlResource, Memory32FixedHasBaseAndSize) {
  EXPECT_EQ(memory32_fixed(false, 0xfed0'0000, 0x400),
            (Term{0x86, 9, 0, 0, 0, 0, 0xd0, 0xfe, 0, 4, 0, 0}));
}

TEST(AmlResource, WindowsHoldFirstLastAndLength) {
  EXPECT_EQ(word_io_window(0xd00, 0x1fff),
            (Term{0x88, 13, 0, 1, 0x0c, 3, 0, 0, 0x00, 0x0d, 0xff, 0x1f, 0, 0, 0x00, 0x13}));
  EXPECT_EQ(word_bus_window(0, 0xff)[3], 2);
  EXPECT_EQ(dword_memory_window(0xc000'0000, 0xdfff'ffff).size(), 3u + 3 + 20);
  EXPECT_EQ(qword_memory_window(8 * GiB, 16 * GiB - 1).size(), 3u + 3 + 40);
}

TEST(AmlResource, TemplateEndsWithTheEndTag) {
  EXPECT_EQ(resource_template({irq(1)}), (Term{0x11, 8, 0x0a, 5, 0x22, 1, 0, 0x79, 0}));
}

}  // namespace
}  // namespace bhyve::platform::aml
