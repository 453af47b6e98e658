#include "base/python_float.h"

#include <gtest/gtest.h>

#include <limits>

namespace millrace {
namespace {

// tests/parity/test_python_numbers.py compares a million of them with Python.
TEST(PythonFloat, ChangesToAnExponentWherePythonDoes) {
  EXPECT_EQ(python_float(1e-4), "0.0001");
  EXPECT_EQ(python_float(0.00012345), "0.00012345");
  EXPECT_EQ(python_float(9.999e-5), "9.999e-05");
  EXPECT_EQ(python_float(1e-5), "1e-05");
  EXPECT_EQ(python_float(9999999999999998.0), "9999999999999998.0");
  EXPECT_EQ(python_float(1e16), "1e+16");
  EXPECT_EQ(python_float(-1.5e300), "-1.5e+300");
}

TEST(PythonFloat, ShowsThatANumberIsNotAnInteger) {
  EXPECT_EQ(python_float(0), "0.0");
  EXPECT_EQ(python_float(-0.0), "-0.0");
  EXPECT_EQ(python_float(1), "1.0");
  EXPECT_EQ(python_float(-1200), "-1200.0");
  EXPECT_EQ(python_float(-12.25), "-12.25");
}

TEST(PythonFloat, WritesTheFewestDigits) {
  EXPECT_EQ(python_float(0.1), "0.1");
  EXPECT_EQ(python_float(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(python_float(0.003215718583555748), "0.003215718583555748");
  EXPECT_EQ(python_float(std::numeric_limits<double>::denorm_min()), "5e-324");
  EXPECT_EQ(python_float(std::numeric_limits<double>::max()), "1.7976931348623157e+308");
}

TEST(PythonFloat, NamesWhatIsNotFinite) {
  EXPECT_EQ(python_float(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(python_float(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(python_float(std::numeric_limits<double>::quiet_NaN()), "nan");
}

}  // namespace
}  // namespace millrace
