// An SPI bus with one chip, which answers each byte with its complement, for the kernel's spidev.

#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/spi/spi.h>

static struct platform_device *parent;
static struct spi_controller *bus;

static int end_transfer(struct spi_controller *controller, struct spi_device *chip, struct spi_transfer *transfer)
{
	const u8 *sent = transfer->tx_buf;
	u8 *received = transfer->rx_buf;
	unsigned int i;

	for (i = 0; received && i < transfer->len; i++)
		received[i] = sent ? ~sent[i] : 0xff;
	return 0;
}

static int __init end_init(void)
{
	// A chip that spidev serves; which one does not matter to it.
	struct spi_board_info chip = { .modalias = "dh2228fv", .max_speed_hz = 10000000 };
	int failed;

	parent = platform_device_register_simple("spi-end", -1, NULL, 0);
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	bus = spi_alloc_master(&parent->dev, 0);
	if (!bus) {
		failed = -ENOMEM;
		goto no_bus;
	}
	bus->bus_num = 0;
	bus->num_chipselect = 1;
	bus->mode_bits = SPI_CPOL | SPI_CPHA;
	bus->transfer_one = end_transfer;
	failed = spi_register_controller(bus);
	if (failed)
		goto no_registration;
	if (!spi_new_device(bus, &chip)) {
		spi_unregister_controller(bus);
		failed = -ENODEV;
		goto no_bus;
	}
	return 0;

no_registration:
	spi_controller_put(bus);
no_bus:
	platform_device_unregister(parent);
	return failed;
}

static void __exit end_exit(void)
{
	spi_unregister_controller(bus);
	platform_device_unregister(parent);
}

module_init(end_init);
module_exit(end_exit);
MODULE_DESCRIPTION("A chip on an SPI bus");
MODULE_LICENSE("Dual MIT/GPL");
