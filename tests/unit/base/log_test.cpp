#include "base/log.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace bhyve {
namespace {

std::string output_with(const char* components, void (*body)()) {
  ::setenv("BHYVE_TRACE", components, 1);
  testing::internal::CaptureStderr();
  log_init();
  body();
  ::unsetenv("BHYVE_TRACE");
  log_init();
  return testing::internal::GetCapturedStderr();
}

void trace_two() {
  trace(Log::apic, "apic {}", 1);
  trace(Log::timer, "timer {}", 2);
}

TEST(Log, OnlyComponentsSwitchedOnAreTraced) {
  EXPECT_EQ(output_with("", trace_two), "");
  EXPECT_EQ(output_with("timer", trace_two), "bhyve: trace: timer 2\n");
  EXPECT_EQ(output_with("cpu,apic", trace_two), "bhyve: trace: apic 1\n");
  EXPECT_EQ(output_with("all", trace_two), "bhyve: trace: apic 1\nbhyve: trace: timer 2\n");
}

TEST(Log, ErrorsAndWarningsAreAlwaysWritten) {
  EXPECT_EQ(output_with("", [] { log_warn("w{}", 1); log_error("e{}", 2); }),
            "bhyve: warning: w1\nbhyve: error: e2\n");
}

TEST(Log, UnknownComponentIsNamedAndTheOthersCount) {
  const std::string text = output_with("nonsense,timer", trace_two);
  EXPECT_NE(text.find("'nonsense'"), std::string::npos);
  EXPECT_NE(text.find("timer 2"), std::string::npos);
}

}  // namespace
}  // namespace bhyve
