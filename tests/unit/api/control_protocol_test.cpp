#include "api/control_protocol.hpp"

#include <gtest/gtest.h>

namespace bhyve::api {
namespace {

TEST(ControlProtocol, LineMustBeOneObject) {
  EXPECT_TRUE(parse_line("{\"command\":\"x\"}"));
  for (const char* text : {"", "3", "[]", "{", "{} {}", "null", "{\"a\":}", "\xff"})
    EXPECT_FALSE(parse_line(text)) << text;
}

TEST(ControlProtocol, DeepNestingIsRefused) {
  const std::string deep = "{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}";
  EXPECT_EQ(parse_line(deep).error().code, EBADMSG);
}

TEST(ControlProtocol, LongLineIsRefused) {
  EXPECT_EQ(parse_line(std::string(max_request + 1, ' ')).error().code, EMSGSIZE);
}

TEST(ControlProtocol, AnswersCarryResultOrError) {
  const auto result = parse_answer(answer_line(Json{{"x", 1}}));
  ASSERT_TRUE(result);
  EXPECT_EQ((*result)["x"], 1);
  const auto error = parse_answer(answer_line(fail(EBUSY, "no way")));
  ASSERT_FALSE(error);
  EXPECT_EQ(error.error().code, EBUSY);
  EXPECT_EQ(error.error().message, "no way");
}

TEST(ControlProtocol, AnswerOfTheWrongShapeIsAnError) {
  for (const char* text : {"{}", "{\"ok\":false}", "{\"ok\":1}", "{\"ok\":false,\"errno\":\"x\"}"})
    EXPECT_FALSE(parse_answer(text)) << text;
}

TEST(ControlProtocol, IntegersAreCheckedAgainstTheirRange) {
  const auto get = [](const char* text) {
    return integer_argument(Json::parse(text), "cpu", -1, 15).has_value();
  };
  EXPECT_TRUE(get("{\"cpu\":-1}"));
  EXPECT_TRUE(get("{\"cpu\":15}"));
  EXPECT_FALSE(get("{\"cpu\":16}"));
  EXPECT_FALSE(get("{\"cpu\":-2}"));
  EXPECT_FALSE(get("{\"cpu\":1.0}"));
  EXPECT_FALSE(get("{\"cpu\":\"1\"}"));
  EXPECT_FALSE(get("{\"cpu\":18446744073709551615}"));
  EXPECT_FALSE(get("{}"));
}

}  // namespace
}  // namespace bhyve::api
