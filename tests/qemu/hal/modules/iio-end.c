// A weather station for industrial I/O: a temperature in steps, with offset and scale, and an air pressure that is
// computed already.

#include <linux/iio/iio.h>
#include <linux/module.h>
#include <linux/platform_device.h>

static struct platform_device *parent;
static struct iio_dev *station;

static const struct iio_chan_spec channels[] = {
	{
		.type = IIO_TEMP,
		.info_mask_separate = BIT(IIO_CHAN_INFO_RAW) | BIT(IIO_CHAN_INFO_OFFSET) | BIT(IIO_CHAN_INFO_SCALE),
	},
	{ .type = IIO_PRESSURE, .info_mask_separate = BIT(IIO_CHAN_INFO_PROCESSED) },
};

static int end_read(struct iio_dev *device, struct iio_chan_spec const *channel, int *value, int *micro, long what)
{
	switch (what) {
	case IIO_CHAN_INFO_RAW:
		*value = 200;
		return IIO_VAL_INT;
	case IIO_CHAN_INFO_OFFSET:
		*value = -20;
		return IIO_VAL_INT;
	case IIO_CHAN_INFO_SCALE:
		*value = 125;
		*micro = 500000;
		return IIO_VAL_INT_PLUS_MICRO;
	case IIO_CHAN_INFO_PROCESSED:
		*value = 101;
		*micro = 325000;
		return IIO_VAL_INT_PLUS_MICRO;
	default:
		return -EINVAL;
	}
}

static const struct iio_info info = { .read_raw = end_read };

static int __init end_init(void)
{
	int failed = -ENOMEM;

	parent = platform_device_register_simple("iio-end", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	station = iio_device_alloc(&parent->dev, 0);
	if (!station)
		goto no_station;
	station->name = "station";
	station->info = &info;
	station->channels = channels;
	station->num_channels = ARRAY_SIZE(channels);
	failed = iio_device_register(station);
	if (failed)
		goto no_registration;
	return 0;

no_registration:
	iio_device_free(station);
no_station:
	platform_device_unregister(parent);
	return failed;
}

static void __exit end_exit(void)
{
	iio_device_unregister(station);
	iio_device_free(station);
	platform_device_unregister(parent);
}

module_init(end_init);
module_exit(end_exit);
MODULE_DESCRIPTION("A weather station");
MODULE_LICENSE("Dual MIT/GPL");
