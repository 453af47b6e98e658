#include "formats/tensorboard.h"

#include "base/error.h"
#include "formats/crc32c.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

// A PNG's first bytes for 3 x 2 pixels: what the writer looks at.
const std::string kPngStart("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\3\0\0\0\2\x08\2\0\0\0", 29);

class TensorBoard : public FolderTest {};

TEST(Crc32c, MatchesTheKnownAnswersOfTheRfc) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
}

TEST_F(TensorBoard, ReadsBackWhatItWrote) {
  EventWriter writer(folder_ / "tb");
  writer.start_session(5);
  writer.add_scalar("loss", 0.25, 5);
  writer.add_image("samples", kPngStart, 6);
  writer.add_text("config", "a = 1", 7);
  std::vector<EventValue> values;
  const EventFileEnd end = read_events(writer.path(), [&](const EventValue& value) { values.push_back(value); });
  EXPECT_EQ(end.records, 5u) << "readable while the writer is open";
  EXPECT_FALSE(end.is_cut_short);
  ASSERT_EQ(values.size(), 3u);
  EXPECT_EQ(values[0].kind, EventValue::Kind::kScalar);
  EXPECT_EQ(values[0].tag, "loss");
  EXPECT_EQ(values[0].step, 5);
  EXPECT_EQ(values[0].scalar, 0.25);
  EXPECT_GT(values[0].wall_time, 1.6e9);
  EXPECT_EQ(values[1].kind, EventValue::Kind::kImage);
  EXPECT_EQ(values[2].kind, EventValue::Kind::kText);
  EXPECT_THROW(writer.add_image("x", "no png", 1), DataError);
}

TEST_F(TensorBoard, TwoWritersOfOneFolderDoNotCollide) {
  const EventWriter a(folder_), b(folder_);
  EXPECT_NE(a.path(), b.path());
}

// TensorBoard reads the files in the order of their names, and a resumed run's must come last.
TEST_F(TensorBoard, ANewFileStandsBehindTheOthersWhateverTheClockSays) {
  for (const char* older : {
           "events.out.tfevents.9999999990.a.1.0",  // written while the clock was wrong
           "events.out.tfevents.1500000000.b.1.0",
           "events.out.tfevents.no-number.c.1.0",
           "zzz",
       }) {
    write(std::string("tb/") + older, "");
  }
  const std::string first = EventWriter(folder_ / "tb").path().filename().string();
  EXPECT_THAT(first, testing::StartsWith("events.out.tfevents.9999999991."));
  const std::string second = EventWriter(folder_ / "tb").path().filename().string();
  EXPECT_THAT(second, testing::StartsWith("events.out.tfevents.9999999992."));
}

TEST_F(TensorBoard, EveryCutIsACutAndEveryFlippedBitIsFound) {
  std::string text;
  {
    EventWriter writer(folder_);
    writer.add_scalar("loss", 1, 1);
    text = read(writer.path().filename().string());
  }
  const auto ignore = [](const EventValue&) {};
  const size_t first = 12 + 24 + 4;  // the record of the file's version
  for (size_t size = 0; size < text.size(); ++size) {
    const EventFileEnd end = parse_events(std::string_view(text).substr(0, size), "x", ignore);
    EXPECT_EQ(end.is_cut_short, size != 0 && size != first) << size;
  }
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    std::string damaged = text;
    damaged[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_THROW(parse_events(damaged, "x", ignore), DataError) << bit;
  }
  EXPECT_THAT(message_of<DataError>([&] { parse_events("something else", "x", ignore); }),
              HasSubstr("[x, byte 0] expected a record of an event file"));
}

}  // namespace
}  // namespace millrace
