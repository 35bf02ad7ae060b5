//! The numbers that say what a PCI device is: its class and its vendor.

use crate::error::{code::EINVAL, Error, Result};
use crate::fmt;

/// What kind of device it is: base class, subclass and programming interface, a byte each.
///
/// `{}` shows the name of a class that has one here, and a number of six digits otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Class(u32);

impl Class {
    pub(super) fn from_raw(code: u32) -> Self {
        Self(code)
    }

    /// The 24 bits as a number.
    pub const fn as_raw(self) -> u32 {
        self.0
    }
}

/// Which part of a [`Class`] a driver's table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClassMask {
    /// All of it.
    Full = 0xff_ffff,
    /// The base class and the subclass.
    ClassSubclass = 0xff_ff00,
}

impl ClassMask {
    /// The mask as a number.
    pub const fn as_raw(self) -> u32 {
        // The mask is the discriminant.
        self as u32
    }
}

impl TryFrom<u32> for ClassMask {
    type Error = Error;

    /// `EINVAL` for a number that is neither mask.
    fn try_from(value: u32) -> Result<Self> {
        let known = [Self::Full, Self::ClassSubclass];
        known.into_iter().find(|mask| mask.as_raw() == value).ok_or(EINVAL)
    }
}

/// Who made the device, as a number that the PCI SIG gave out.
///
/// `{}` shows the name of a vendor that has one here, and a number of four digits otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Vendor(u16);

impl Vendor {
    pub(super) fn from_raw(id: u16) -> Self {
        Self(id)
    }

    /// The id as a number.
    pub const fn as_raw(self) -> u16 {
        self.0
    }
}

/// Gives numbers of a type their names, and shows them by name, or with `$digits` hexadecimal digits.
macro_rules! named_numbers {
    ($Type:ident, $kind:literal, $digits:literal: $($name:ident = $number:literal;)*) => {
        impl $Type {
            $(
                #[doc = concat!($kind, " `", stringify!($number), "`.")]
                pub const $name: Self = Self($number);
            )*
        }

        impl fmt::Debug for $Type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("0x{:0", $digits, "x}"), self.0)
            }
        }

        impl fmt::Display for $Type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str(stringify!($name)),)*
                    _ => fmt::Debug::fmt(self, f),
                }
            }
        }
    };
}

named_numbers! { Class, "Class", "6":
    NOT_DEFINED = 0x000000;
    NOT_DEFINED_VGA = 0x000100;
    STORAGE_SCSI = 0x010000;
    STORAGE_IDE = 0x010100;
    STORAGE_FLOPPY = 0x010200;
    STORAGE_IPI = 0x010300;
    STORAGE_RAID = 0x010400;
    STORAGE_SATA = 0x010600;
    STORAGE_SATA_AHCI = 0x010601;
    STORAGE_SAS = 0x010700;
    STORAGE_EXPRESS = 0x010802;
    STORAGE_OTHER = 0x018000;
    NETWORK_ETHERNET = 0x020000;
    NETWORK_TOKEN_RING = 0x020100;
    NETWORK_FDDI = 0x020200;
    NETWORK_ATM = 0x020300;
    NETWORK_OTHER = 0x028000;
    DISPLAY_VGA = 0x030000;
    DISPLAY_XGA = 0x030100;
    DISPLAY_3D = 0x030200;
    DISPLAY_OTHER = 0x038000;
    MULTIMEDIA_VIDEO = 0x040000;
    MULTIMEDIA_AUDIO = 0x040100;
    MULTIMEDIA_PHONE = 0x040200;
    MULTIMEDIA_HD_AUDIO = 0x040300;
    MULTIMEDIA_OTHER = 0x048000;
    MEMORY_RAM = 0x050000;
    MEMORY_FLASH = 0x050100;
    MEMORY_CXL = 0x050200;
    MEMORY_OTHER = 0x058000;
    BRIDGE_HOST = 0x060000;
    BRIDGE_ISA = 0x060100;
    BRIDGE_EISA = 0x060200;
    BRIDGE_MC = 0x060300;
    BRIDGE_PCI_NORMAL = 0x060400;
    BRIDGE_PCI_SUBTRACTIVE = 0x060401;
    BRIDGE_PCMCIA = 0x060500;
    BRIDGE_NUBUS = 0x060600;
    BRIDGE_CARDBUS = 0x060700;
    BRIDGE_RACEWAY = 0x060800;
    BRIDGE_OTHER = 0x068000;
    COMMUNICATION_SERIAL = 0x070000;
    COMMUNICATION_PARALLEL = 0x070100;
    COMMUNICATION_MULTISERIAL = 0x070200;
    COMMUNICATION_MODEM = 0x070300;
    COMMUNICATION_OTHER = 0x078000;
    SYSTEM_PIC = 0x080000;
    SYSTEM_PIC_IOAPIC = 0x080010;
    SYSTEM_PIC_IOXAPIC = 0x080020;
    SYSTEM_DMA = 0x080100;
    SYSTEM_TIMER = 0x080200;
    SYSTEM_RTC = 0x080300;
    SYSTEM_PCI_HOTPLUG = 0x080400;
    SYSTEM_SDHCI = 0x080500;
    SYSTEM_RCEC = 0x080700;
    SYSTEM_OTHER = 0x088000;
    INPUT_KEYBOARD = 0x090000;
    INPUT_PEN = 0x090100;
    INPUT_MOUSE = 0x090200;
    INPUT_SCANNER = 0x090300;
    INPUT_GAMEPORT = 0x090400;
    INPUT_OTHER = 0x098000;
    DOCKING_GENERIC = 0x0a0000;
    DOCKING_OTHER = 0x0a8000;
    PROCESSOR_386 = 0x0b0000;
    PROCESSOR_486 = 0x0b0100;
    PROCESSOR_PENTIUM = 0x0b0200;
    PROCESSOR_ALPHA = 0x0b1000;
    PROCESSOR_POWERPC = 0x0b2000;
    PROCESSOR_MIPS = 0x0b3000;
    PROCESSOR_CO = 0x0b4000;
    SERIAL_FIREWIRE = 0x0c0000;
    SERIAL_FIREWIRE_OHCI = 0x0c0010;
    SERIAL_ACCESS = 0x0c0100;
    SERIAL_SSA = 0x0c0200;
    SERIAL_USB_UHCI = 0x0c0300;
    SERIAL_USB_OHCI = 0x0c0310;
    SERIAL_USB_EHCI = 0x0c0320;
    SERIAL_USB_XHCI = 0x0c0330;
    SERIAL_USB_CDNS = 0x0c0380;
    SERIAL_USB_DEVICE = 0x0c03fe;
    SERIAL_FIBER = 0x0c0400;
    SERIAL_SMBUS = 0x0c0500;
    SERIAL_IPMI_SMIC = 0x0c0700;
    SERIAL_IPMI_KCS = 0x0c0701;
    SERIAL_IPMI_BT = 0x0c0702;
    WIRELESS_RF_CONTROLLER = 0x0d1000;
    WIRELESS_WHCI = 0x0d1010;
    INTELLIGENT_I2O = 0x0e0000;
    SATELLITE_TV = 0x0f0000;
    SATELLITE_AUDIO = 0x0f0100;
    SATELLITE_VOICE = 0x0f0300;
    SATELLITE_DATA = 0x0f0400;
    CRYPT_NETWORK = 0x100000;
    CRYPT_ENTERTAINMENT = 0x100100;
    CRYPT_OTHER = 0x108000;
    SP_DPIO = 0x110000;
    SP_OTHER = 0x118000;
    ACCELERATOR_PROCESSING = 0x120000;
    OTHERS = 0x00ff00;
}

named_numbers! { Vendor, "Vendor", "4":
    PCI_SIG = 0x0001;
    LOONGSON = 0x0014;
    SOLIDIGM = 0x025e;
    TTTECH = 0x0357;
    DYNALINK = 0x0675;
    UBIQUITI = 0x0777;
    BERKOM = 0x0871;
    ITTIM = 0x0b48;
    COMPAQ = 0x0e11;
    LSI_LOGIC = 0x1000;
    ATI = 0x1002;
    VLSI = 0x1004;
    ADL = 0x1005;
    NS = 0x100b;
    TSENG = 0x100c;
    WEITEK = 0x100e;
    DEC = 0x1011;
    CIRRUS = 0x1013;
    IBM = 0x1014;
    UNISYS = 0x1018;
    COMPEX2 = 0x101a;
    WD = 0x101c;
    AMI = 0x101e;
    AMD = 0x1022;
    TRIDENT = 0x1023;
    AI = 0x1025;
    DELL = 0x1028;
    MATROX = 0x102b;
    MOBILITY_ELECTRONICS = 0x14f2;
    CT = 0x102c;
    MIRO = 0x1031;
    NEC = 0x1033;
    FD = 0x1036;
    SI = 0x1039;
    HP = 0x103c;
    HP_3PAR = 0x1590;
    PCTECH = 0x1042;
    ASUSTEK = 0x1043;
    DPT = 0x1044;
    OPTI = 0x1045;
    ELSA = 0x1048;
    STMICRO = 0x104a;
    BUSLOGIC = 0x104b;
    TI = 0x104c;
    SONY = 0x104d;
    WINBOND2 = 0x1050;
    ANIGMA = 0x1051;
    EFAR = 0x1055;
    MOTOROLA = 0x1057;
    PROMISE = 0x105a;
    FOXCONN = 0x105b;
    UMC = 0x1060;
    PICOPOWER = 0x1066;
    MYLEX = 0x1069;
    APPLE = 0x106b;
    YAMAHA = 0x1073;
    QLOGIC = 0x1077;
    CYRIX = 0x1078;
    CONTAQ = 0x1080;
    OLICOM = 0x108d;
    SUN = 0x108e;
    NI = 0x1093;
    CMD = 0x1095;
    BROOKTREE = 0x109e;
    SGI = 0x10a9;
    WINBOND = 0x10ad;
    PLX = 0x10b5;
    MADGE = 0x10b6;
    THREECOM = 0x10b7;
    AL = 0x10b9;
    NEOMAGIC = 0x10c8;
    TCONRAD = 0x10da;
    ROHM = 0x10db;
    NVIDIA = 0x10de;
    IMS = 0x10e0;
    AMCC = 0x10e8;
    AMPERE = 0x1def;
    INTERG = 0x10ea;
    REALTEK = 0x10ec;
    XILINX = 0x10ee;
    INIT = 0x1101;
    CREATIVE = 0x1102;
    TTI = 0x1103;
    SIGMA = 0x1105;
    VIA = 0x1106;
    SIEMENS = 0x110a;
    VORTEX = 0x1119;
    EF = 0x111a;
    IDT = 0x111d;
    FORE = 0x1127;
    PHILIPS = 0x1131;
    EICON = 0x1133;
    CISCO = 0x1137;
    ZIATECH = 0x1138;
    SYSKONNECT = 0x1148;
    DIGI = 0x114f;
    XIRCOM = 0x115d;
    SERVERWORKS = 0x1166;
    ALTERA = 0x1172;
    SBE = 0x1176;
    TOSHIBA = 0x1179;
    TOSHIBA_2 = 0x102f;
    ATTO = 0x117c;
    RICOH = 0x1180;
    DLINK = 0x1186;
    ARTOP = 0x1191;
    ZEITNET = 0x1193;
    FUJITSU_ME = 0x119e;
    MARVELL = 0x11ab;
    MARVELL_EXT = 0x1b4b;
    V3 = 0x11b0;
    ATT = 0x11c1;
    SPECIALIX = 0x11cb;
    ANALOG_DEVICES = 0x11d4;
    ZORAN = 0x11de;
    COMPEX = 0x11f6;
    MICROSEMI = 0x11f8;
    RP = 0x11fe;
    CYCLADES = 0x120e;
    O2 = 0x1217;
    THREEDX = 0x121a;
    AVM = 0x1244;
    STALLION = 0x124d;
    AT = 0x1259;
    ASIX = 0x125b;
    ESS = 0x125d;
    SATSAGEM = 0x1267;
    ENSONIQ = 0x1274;
    TRANSMETA = 0x1279;
    ROCKWELL = 0x127a;
    ITE = 0x1283;
    ALTEON = 0x12ae;
    NVIDIA_SGS = 0x12d2;
    PERICOM = 0x12d8;
    AUREAL = 0x12eb;
    ELECTRONICDESIGNGMBH = 0x12f8;
    ESDGMBH = 0x12fe;
    CB = 0x1307;
    SIIG = 0x131f;
    RADISYS = 0x1331;
    MICRO_MEMORY = 0x1332;
    DOMEX = 0x134a;
    INTASHIELD = 0x135a;
    QUATECH = 0x135c;
    SEALEVEL = 0x135e;
    HYPERCOPE = 0x1365;
    DIGIGRAM = 0x1369;
    KAWASAKI = 0x136b;
    CNET = 0x1371;
    LMC = 0x1376;
    NETGEAR = 0x1385;
    APPLICOM = 0x1389;
    MOXA = 0x1393;
    CCD = 0x1397;
    EXAR = 0x13a8;
    MICROGATE = 0x13c0;
    THREEWARE = 0x13c1;
    IOMEGA = 0x13ca;
    ABOCOM = 0x13d1;
    SUNDANCE = 0x13f0;
    CMEDIA = 0x13f6;
    ADVANTECH = 0x13fe;
    MEILHAUS = 0x1402;
    LAVA = 0x1407;
    TIMEDIA = 0x1409;
    ICE = 0x1412;
    MICROSOFT = 0x1414;
    OXSEMI = 0x1415;
    CHELSIO = 0x1425;
    EDIMAX = 0x1432;
    ADLINK = 0x144a;
    SAMSUNG = 0x144d;
    GIGABYTE = 0x1458;
    AMBIT = 0x1468;
    MYRICOM = 0x14c1;
    MEDIATEK = 0x14c3;
    TITAN = 0x14d2;
    PANACOM = 0x14d4;
    SIPACKETS = 0x14d9;
    AFAVLAB = 0x14db;
    AMPLICON = 0x14dc;
    BCM_GVC = 0x14a4;
    BROADCOM = 0x14e4;
    TOPIC = 0x151f;
    MAINPINE = 0x1522;
    ENE = 0x1524;
    SYBA = 0x1592;
    MORETON = 0x15aa;
    VMWARE = 0x15ad;
    ZOLTRIX = 0x15b0;
    MELLANOX = 0x15b3;
    DFI = 0x15bd;
    QUICKNET = 0x15e2;
    ADDIDATA = 0x15b8;
    PDC = 0x15e9;
    FARSITE = 0x1619;
    ARIMA = 0x161f;
    BROCADE = 0x1657;
    SIBYTE = 0x166d;
    ATHEROS = 0x168c;
    NETCELL = 0x169c;
    CENATEK = 0x16ca;
    SYNOPSYS = 0x16c3;
    USR = 0x16ec;
    VITESSE = 0x1725;
    LINKSYS = 0x1737;
    ALTIMA = 0x173b;
    CAVIUM = 0x177d;
    TECHWELL = 0x1797;
    BELKIN = 0x1799;
    RDC = 0x17f3;
    GLI = 0x17a0;
    LENOVO = 0x17aa;
    QCOM = 0x17cb;
    CDNS = 0x17cd;
    ARECA = 0x17d3;
    S2IO = 0x17d5;
    SITECOM = 0x182d;
    TOPSPIN = 0x1867;
    COMMTECH = 0x18f7;
    SILAN = 0x1904;
    RENESAS = 0x1912;
    SOLARFLARE = 0x1924;
    TDI = 0x192e;
    NXP = 0x1957;
    PASEMI = 0x1959;
    ATTANSIC = 0x1969;
    JMICRON = 0x197b;
    KORENIX = 0x1982;
    HUAWEI = 0x19e5;
    NETRONOME = 0x19ee;
    QMI = 0x1a32;
    AZWAVE = 0x1a3b;
    REDHAT_QUMRANET = 0x1af4;
    ASMEDIA = 0x1b21;
    REDHAT = 0x1b36;
    WCHIC = 0x1c00;
    SILICOM_DENMARK = 0x1c2c;
    AMAZON_ANNAPURNA_LABS = 0x1c36;
    CIRCUITCO = 0x1cc8;
    AMAZON = 0x1d0f;
    ZHAOXIN = 0x1d17;
    ROCKCHIP = 0x1d87;
    HYGON = 0x1d94;
    META = 0x1d9b;
    FUNGIBLE = 0x1dad;
    HXT = 0x1dbf;
    TEKRAM = 0x1de1;
    RPI = 0x1de4;
    ALIBABA = 0x1ded;
    CXL = 0x1e98;
    TEHUTI = 0x1fc9;
    SUNIX = 0x1fd4;
    HINT = 0x3388;
    THREEDLABS = 0x3d3d;
    NETXEN = 0x4040;
    AKS = 0x416c;
    WCHCN = 0x4348;
    ACCESSIO = 0x494f;
    S3 = 0x5333;
    DUNORD = 0x5544;
    DCI = 0x6666;
    GLENFLY = 0x6766;
    INTEL = 0x8086;
    WANGXUN = 0x8088;
    SCALEMP = 0x8686;
    COMPUTONE = 0x8e0e;
    KTI = 0x8e2e;
    ADAPTEC = 0x9004;
    ADAPTEC2 = 0x9005;
    HOLTEK = 0x9412;
    NETMOS = 0x9710;
    THREECOM_2 = 0xa727;
    SOLIDRUN = 0xd063;
    DIGIUM = 0xd161;
    TIGERJET = 0xe159;
    XILINX_RME = 0xea60;
    XEN = 0x5853;
    OCZ = 0x1b85;
    NCUBE = 0x10ff;
}
