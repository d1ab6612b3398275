//! Where a location is on the globe, and which of two is nearer.

use serde::{Deserialize, Serialize};

/// An angle in millionths of a degree, about 11 cm on a meridian; a decimal number of degrees in JSON.
///
/// Integers, so that an event reads back as it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Degrees(pub i32);

/// Millionths in one degree.
const MILLIONTHS: f64 = 1e6;

impl From<f64> for Degrees {
    /// Rounds to the nearest millionth; what is far outside of any angle stays outside.
    fn from(degrees: f64) -> Self {
        Degrees((degrees * MILLIONTHS).round() as i32)
    }
}

impl From<Degrees> for f64 {
    fn from(degrees: Degrees) -> Self {
        f64::from(degrees.0) / MILLIONTHS
    }
}

/// A point on the globe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Point {
    /// Degrees north of the equator, from -90 to 90.
    pub latitude: Degrees,
    /// Degrees east of Greenwich, from -180 to 180.
    pub longitude: Degrees,
}

impl Point {
    /// Whether both angles are in their range.
    pub(super) fn is_valid(self) -> bool {
        self.latitude.0.unsigned_abs() <= 90_000_000 && self.longitude.0.unsigned_abs() <= 180_000_000
    }

    /// A number between 0 and 1 that grows with the distance on the globe: the haversine of the central angle.
    pub(super) fn haversine(self, other: Point) -> f64 {
        let radians = |degrees: Degrees| f64::from(degrees).to_radians();
        let half_sine_squared = |a: Degrees, b: Degrees| ((radians(b) - radians(a)) / 2.0).sin().powi(2);
        half_sine_squared(self.latitude, other.latitude)
            + radians(self.latitude).cos()
                * radians(other.latitude).cos()
                * half_sine_squared(self.longitude, other.longitude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(latitude: f64, longitude: f64) -> Point {
        Point {
            latitude: latitude.into(),
            longitude: longitude.into(),
        }
    }

    #[test]
    fn angles_survive_json() {
        for millionths in [0, 1, -1, 52_520_008, -179_999_999, i32::MAX, i32::MIN] {
            let json = serde_json::to_string(&Degrees(millionths)).unwrap();
            assert_eq!(
                serde_json::from_str::<Degrees>(&json).unwrap(),
                Degrees(millionths)
            );
        }
        assert!(!point(1e300, 0.0).is_valid());
        assert!(!point(90.000_001, 0.0).is_valid());
        assert!(point(-90.0, 180.0).is_valid());
    }

    #[test]
    fn nearness_goes_around_the_globe() {
        let (berlin, paris, tokyo) = (point(52.52, 13.405), point(48.857, 2.352), point(35.68, 139.69));
        assert!(berlin.haversine(paris) < berlin.haversine(tokyo));
        assert!(paris.haversine(berlin) < tokyo.haversine(berlin));
        let (east, west) = (point(0.0, 179.9), point(0.0, -179.9));
        assert!(east.haversine(west) < east.haversine(point(0.0, 179.0)));
    }
}
