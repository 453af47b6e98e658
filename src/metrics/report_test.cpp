#include "metrics/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/files.h"
#include "base/log.h"
#include "config/run_config.h"
#include "metrics/answer_record.h"
#include "metrics/base64.h"
#include "metrics/run_history.h"
#include "metrics/svg_chart.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

// A PNG of one pixel.
const std::string kPng(
    "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\10\2\0\0\0\x90wS\xde\0\0\0\fIDATx\x9c"
    "c\xf8\xcf\xc0\0\0\3\1\1\0\xc9\xfe\x92\xef\0\0\0\0IEND\xae"
    "B`\x82",
    69);

void write_file(const fs::path& path, const std::string& content) {
  FileWriter(path).write(content);
}

class ReportTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string("report_") + testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "samples");
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string report() {
    write_report(folder_, {.hardware = "8 x <test> GPU", .finished = true});
    return read_file(folder_ / "report.html");
  }
  void write_metrics(int64_t steps) {
    std::ofstream file(folder_ / "metrics.jsonl");
    for (int64_t step = 1; step <= steps; ++step) {
      const double loss = 2 * std::exp(-static_cast<double>(step) / 200) + 0.1;
      file << "{\"step\": " << step << ", \"loss\": " << loss << ", \"lr\": 0.001, \"samples\": " << step * 32
           << ", \"samples_per_second\": 40, \"seconds_per_step\": 0.8, \"memory_gib\": 1.5}\n";
    }
    file << "{\"step\": 900, \"validation_loss\": 0.1234}\n{\"step\": 950, \"lo";
  }
  fs::path folder_;
};

TEST_F(ReportTest, IsOnePageThatNeedsNothingElse) {
  write_metrics(1000);
  RunConfig config;
  config.job.description = "emoji <b>run</b>";
  config.training.steps = 2000;
  write_file(folder_ / "config.toml", to_toml(config) + "[sample]\nprompts = [\"red & green apple\"]\n");
  for (const char* name : {"step-00000500.png", "step-00001000.png"}) write_file(folder_ / "samples" / name, kPng);
  const std::string page = report();
  EXPECT_THAT(page, HasSubstr("emoji &lt;b&gt;run&lt;/b&gt;"));
  EXPECT_THAT(page, HasSubstr("1,000 of 2,000"));
  EXPECT_THAT(page, HasSubstr("32,000"));  // samples
  EXPECT_THAT(page, HasSubstr("13:20"));   // 1,000 steps of 0.8 s
  EXPECT_THAT(page, HasSubstr("Best validation loss, step 900</dt><dd>0.1234<"));
  EXPECT_THAT(page, HasSubstr("8 x &lt;test&gt; GPU"));
  EXPECT_THAT(page, HasSubstr("red &amp; green apple"));
  EXPECT_THAT(page, HasSubstr("data:image/png;base64," + to_base64(kPng)));
  EXPECT_THAT(page, HasSubstr("step 500"));
  EXPECT_THAT(page, HasSubstr("steps = 2000"));
  for (const char* outside : {"http:", "https:", "src=\"", "url(", "@import", "<link"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
}

TEST_F(ReportTest, ShowsEachTimestepAndWhetherTheTargetIsReached) {
  write_metrics(10);
  RunConfig config;
  config.validation.target_loss = 0.12;
  write_file(folder_ / "config.toml", to_toml(config));
  EXPECT_THAT(report(), HasSubstr("Target loss 0.12</dt><dd>not reached<"));
  EXPECT_THAT(report(), Not(HasSubstr("by timestep")));
  {
    std::ofstream file(folder_ / "metrics.jsonl", std::ios::app);
    file
        << "}\n{\"step\": 1000, \"validation_loss\": 0.1, \"validation_loss_per_timestep\": [0.3, null, 0.05, 0.04]}\n";
  }
  const std::string page = report();
  EXPECT_THAT(page, HasSubstr("Target loss 0.12</dt><dd>at step 1,000<"));
  EXPECT_THAT(page, HasSubstr("by timestep"));
  EXPECT_THAT(page, HasSubstr("t 0.75"));
  EXPECT_THAT(page, Not(HasSubstr("t 0.25"))) << "it had no sample";
}

TEST_F(ReportTest, AnEmptyFolderGivesAPageThatSaysSo) {
  fs::remove_all(folder_ / "samples");
  EXPECT_THAT(report(), HasSubstr("Nothing has been logged yet"));
}

TEST_F(ReportTest, ShowsTextsByPromptAndStep) {
  write_metrics(3);
  write_file(folder_ / "config.toml", "[sample]\nprompts = [\"What is <b>?\", \"And\"]\n");
  write_file(folder_ / "samples/step-00000001.txt", "> What is <b>?\nA > b.\n\nMore.\n\n> And\nfirst\n\n");
  write_file(folder_ / "samples/step-00000002.txt", "> What is <b>?\nA letter.\n\n> And\nsecond\n\n");
  write_file(folder_ / "samples/step-00000003.txt", "\xff");
  const std::string page = report();
  EXPECT_THAT(page, HasSubstr("<summary>What is &lt;b&gt;?</summary>"));
  EXPECT_THAT(page, HasSubstr("<th>step 1</th><td>A &gt; b.\n\nMore.</td>"));
  EXPECT_THAT(page, HasSubstr("<th>step 2</th><td>A letter.</td>"));
  EXPECT_THAT(page, HasSubstr("<th>step 2</th><td>second</td>"));
  EXPECT_THAT(page, Not(HasSubstr("<th>step 3</th>")));
}

TEST_F(ReportTest, ShowsAnswersBeforeAndAfter) {
  write_metrics(3);
  AnswerRecord record{.step = 3, .questions = {{"2+2?", "4", "five", "4"}, {"1+1?", "2", "2", "3"}}};
  write_file(folder_ / "answers.json", to_json(record));
  EXPECT_THAT(report(), HasSubstr("Exactly right: 1 of 2 before training, <b>1 of 2</b> after"));
  EXPECT_THAT(report(), HasSubstr("<td>2+2?</td><td>five</td><td>✓ 4</td><td>4</td>"));
  EXPECT_THAT(report(), HasSubstr("<td>✗ 3</td>"));
  record.match = AnswerMatch::kStart;
  record.questions[1].after = "2, of course";
  write_file(folder_ / "answers.json", to_json(record));
  EXPECT_THAT(report(), HasSubstr("Right at the beginning: 1 of 2 before training, <b>2 of 2</b> after"));
  write_file(folder_ / "answers.json", "{\"step\": 3}");
  EXPECT_THAT(report(), Not(HasSubstr("<h2>Answers")));
}

TEST_F(ReportTest, DamagedFilesArePassedOver) {
  write_metrics(3);
  write_file(folder_ / "config.toml", "[training\n");
  write_file(folder_ / "samples/step-00000001.png", "no picture");
  write_file(folder_ / "samples/step-99999999999999999999.png", kPng);
  write_file(folder_ / "samples/step-x.png", kPng);
  const std::string page = report();
  EXPECT_THAT(page, Not(HasSubstr("data:image")));
  EXPECT_THAT(page, HasSubstr("<svg"));
}

TEST_F(ReportTest, TooManyPicturesAreThinnedButTheLastStays) {
  for (int i = 1; i <= 40; ++i) {
    const std::string name = str("step-", std::string(8 - std::to_string(i).size(), '0'), i, ".png");
    write_file(folder_ / "samples" / name, kPng + std::string(1 << 20, '\0'));
  }
  const std::string page = report();
  EXPECT_LT(page.size(), 34u << 20);
  EXPECT_THAT(page, HasSubstr("data-label='step 1'"));
  EXPECT_THAT(page, HasSubstr("data-label='step 40'"));
  EXPECT_THAT(page, HasSubstr("pictures in between are left out"));
}

TEST(Curves, SmoothingFollowsAConstantAtOnce) {
  Curve curve;
  for (int i = 0; i < 50; ++i) curve.push_back({static_cast<double>(i), 3.0});
  for (const CurvePoint& point : smoothed(curve, 20)) EXPECT_NEAR(point.value, 3.0, 1e-12);
}

TEST(Curves, ThinningKeepsTheMean) {
  Curve curve;
  for (int i = 0; i < 1000; ++i) curve.push_back({static_cast<double>(i), static_cast<double>(i % 10)});
  const Curve thin = thinned(curve, 100);
  ASSERT_EQ(thin.size(), 100u);
  for (const CurvePoint& point : thin) EXPECT_NEAR(point.value, 4.5, 1e-12);
  EXPECT_EQ(thinned(curve, 2000).size(), 1000u);
}

TEST(ShortNumber, FitsOnAnAxis) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(0.00012), "1.2e-4");
  EXPECT_EQ(short_number(0.25), "0.25");
  EXPECT_EQ(short_number(12), "12");
  EXPECT_EQ(short_number(12500), "12.5k");
  EXPECT_EQ(short_number(-1234567), "-1.23M");
  EXPECT_EQ(short_number(1e-10), "1e-10");
}

TEST(Base64, PadsAsTheRfcSays) {
  EXPECT_EQ(to_base64(""), "");
  EXPECT_EQ(to_base64("f"), "Zg==");
  EXPECT_EQ(to_base64("fo"), "Zm8=");
  EXPECT_EQ(to_base64("foo"), "Zm9v");
}

}  // namespace
}  // namespace millrace
