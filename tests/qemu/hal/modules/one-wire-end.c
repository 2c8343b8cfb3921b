// A DS18B20 thermometer on a 1-Wire bus of its own, for the kernel's w1_therm: what its data sheet says of ROM commands,
// conversion and scratchpad, byte by byte. It is always 21.5 °C.

#include <linux/module.h>
#include <linux/w1.h>

#define FAMILY 0x28ULL
#define SERIAL 0x0000a1b2c3d4ULL

enum { MATCH_ROM = 0x55, SKIP_ROM = 0xcc, READ_SCRATCHPAD = 0xbe };
enum stage { UNSELECTED, MATCHING, SELECTED, COMMANDED };

static enum stage stage;
static unsigned int count;
static u8 command;
// 344 sixteenths of a degree, alarms at 75 and 70, twelve bits; the last is the checksum.
static u8 scratchpad[9] = { 0x58, 0x01, 75, 70, 0x7f, 0xff, 0x0c, 0x10 };

static u8 end_reset(void *data)
{
	stage = UNSELECTED;
	count = 0;
	return 0;
}

static void end_write(void *data, u8 byte)
{
	switch (stage) {
	case UNSELECTED:
		if (byte == SKIP_ROM)
			stage = SELECTED;
		else if (byte == MATCH_ROM)
			stage = MATCHING;
		break;
	case MATCHING:
		if (++count == 8) {
			stage = SELECTED;
			count = 0;
		}
		break;
	case SELECTED:
		command = byte;
		stage = COMMANDED;
		break;
	case COMMANDED:
		break;
	}
}

// A conversion that is done and a supply of its own both answer with ones.
static u8 end_touch(void *data, u8 bit)
{
	return bit;
}

static u8 end_read(void *data)
{
	if (stage == COMMANDED && command == READ_SCRATCHPAD && count < sizeof(scratchpad))
		return scratchpad[count++];
	return 0xff;
}

static void end_search(void *data, struct w1_master *master, u8 kind, w1_slave_found_callback found)
{
	__le64 number = cpu_to_le64(FAMILY | SERIAL << 8);
	u64 crc = w1_calc_crc8((u8 *)&number, 7);

	found(master, FAMILY | SERIAL << 8 | crc << 56);
}

static struct w1_bus_master end = {
	.reset_bus = end_reset,
	.write_byte = end_write,
	.read_byte = end_read,
	.touch_bit = end_touch,
	.search = end_search,
};

static int __init end_init(void)
{
	scratchpad[8] = w1_calc_crc8(scratchpad, 8);
	return w1_add_master_device(&end);
}

static void __exit end_exit(void)
{
	w1_remove_master_device(&end);
}

module_init(end_init);
module_exit(end_exit);
MODULE_DESCRIPTION("A thermometer on a 1-Wire bus");
MODULE_LICENSE("Dual MIT/GPL");
