#include "timer/vrtc_calendar.hpp"

#include <gtest/gtest.h>

#include <ctime>

namespace bhyve::timer {
namespace {

TEST(VrtcCalendar, AgreesWithTheCLibraryAndIsItsOwnInverse) {
  for (i64 t = calendar_first; t <= calendar_last; t += 86'400 * 13 + 3671) {
    const std::time_t c_time = t;
    std::tm tm{};
    ::gmtime_r(&c_time, &tm);
    const CalendarTime time = calendar_from_seconds(t);
    ASSERT_EQ(static_cast<int>(time.year), tm.tm_year + 1900) << t;
    ASSERT_EQ(static_cast<int>(time.month), tm.tm_mon + 1) << t;
    ASSERT_EQ(static_cast<int>(time.day), tm.tm_mday) << t;
    ASSERT_EQ(static_cast<int>(time.hour), tm.tm_hour) << t;
    ASSERT_EQ(static_cast<int>(time.minute), tm.tm_min) << t;
    ASSERT_EQ(static_cast<int>(time.second), tm.tm_sec) << t;
    ASSERT_EQ(static_cast<int>(time.weekday), tm.tm_wday + 1) << t;
    i64 back = 0;
    ASSERT_TRUE(seconds_from_calendar(time, back));
    ASSERT_EQ(back, t);
  }
}

TEST(VrtcCalendar, ImpossibleDatesAreRefused) {
  i64 seconds = 0;
  EXPECT_TRUE(seconds_from_calendar({.year = 2024, .month = 2, .day = 29}, seconds));
  EXPECT_FALSE(seconds_from_calendar({.year = 2023, .month = 2, .day = 29}, seconds));
  EXPECT_FALSE(seconds_from_calendar({.year = 1900, .month = 2, .day = 29}, seconds));
  EXPECT_FALSE(seconds_from_calendar({.year = 2024, .month = 13, .day = 1}, seconds));
  EXPECT_FALSE(seconds_from_calendar({.year = 2024, .month = 0, .day = 1}, seconds));
  EXPECT_FALSE(seconds_from_calendar({.year = 2024, .month = 1, .day = 0}, seconds));
  EXPECT_FALSE(seconds_from_calendar({.year = 2024, .month = 1, .day = 1, .hour = 24}, seconds));
}

}  // namespace
}  // namespace bhyve::timer
